-- Names the holds and leases whose deadline has passed, and forgets what else is too old.
--
-- KEYS: meta, holds, due, kept, once. ARGV: clock, epoch, seen; most at once.

if has_lost() then
  return reply('lost')
end
local late, leases = {}, {}
local due = call('ZRANGEBYSCORE', KEYS[3], '-inf', whole(now), 'LIMIT', 0, ARGV[4])
for _, member in ipairs(due) do
  local kind, id = match(member, '^(%l+):(.*)$')
  local record = kind == 'hold' and call('HGET', KEYS[2], id)
  if record then
    late[#late + 1] = id
    late[#late + 1] = record
  elseif kind == 'lease' then
    leases[#leases + 1] = id
  else
    if kind == 'kept' then
      forget_answer(KEYS[4], id)
    elseif kind == 'once' then
      call('HDEL', KEYS[5], id)
    end
    call('ZREM', KEYS[3], member)
  end
end
return reply('done', late, #due == tonumber(ARGV[4]) and 1 or 0, leases)
