-- Keeps a hold open beyond its call's answer, or goes on with one that waits.
--
-- KEYS: meta, holds, due, the payer's hash, perhaps its team's.
-- ARGV: clock, epoch, seen; call, "park" or "resume", payer, state, until (park) or length (resume),
--       most that may wait in all and for the payer, a counter to show, whose turn it is (resume) or was
--       (park), the moment after which that is not done any more, or 0, and the revisions of records by
--       which whoever goes on with it was judged: [[key, revision]...].

if has_lost() then
  return reply('lost')
end
local id, deed, payer, state = ARGV[4], ARGV[5], ARGV[6], ARGV[7]
-- Whoever asked has given up by then.
local latest = tonumber(ARGV[13])
if latest > 0 and now > latest then
  return reply('late')
end
local parked = tonumber(call('HGET', KEYS[1], 'parked') or 0)
local own = tonumber(call('HGET', KEYS[4], 'parked') or 0)
if deed == 'park' and (parked >= tonumber(ARGV[9]) or own >= tonumber(ARGV[10])) then
  return reply('full')
end
local record = call('HGET', KEYS[2], id)
if not record then
  if deed == 'park' then
    save_time()
  end
  return reply('ended')
end
local at, deadline, turn, waits, rest =
  match(record, '^(%d+) (%d+) (%S+)\n([^\n]*)(\n.*)$')
local is_payer = sub(rest, 1, #payer + 2) == '\n' .. payer .. '\n'
-- Whoever did not hear the answer asks again with the same words.
local is_own = turn == ARGV[12]
local is_again = is_own and waits == (deed == 'park' and state or '')
local waits_for = deed == 'resume' and state or ''
local fits = is_payer and (is_again or (waits == waits_for and (is_own or deed == 'resume')))
if deed == 'resume' then
  -- Who asks for what does not wait is not taken notice of.
  if not fits then
    return reply('ended')
  end
  if not is_again and is_stale(cjson.decode(ARGV[14]), {}) then
    return reply('stale')
  end
  turn = ARGV[12]
end
save_time()
if not fits or now >= tonumber(deadline) then
  return reply('ended')
end
local till = deed == 'park' and tonumber(ARGV[8]) or max(0, now + tonumber(ARGV[8]))
local step = deed == 'park' and 1 or -1
if not is_again then
  call('HINCRBY', KEYS[1], 'parked', step)
  call('HINCRBY', KEYS[4], 'parked', step)
end
local hold = at .. ' ' .. whole(till) .. ' ' .. turn .. '\n' .. (deed == 'park' and state or '') .. rest
call('HSET', KEYS[2], id, hold)
call('ZADD', KEYS[3], whole(till), 'hold:' .. id)
local shown = call('HMGET', KEYS[4], 'balance@l', ARGV[11])
return reply('done', hold, shown[1] or '0', shown[2] or '')
