-- Reserves all that a call asks for, or nothing; or only says which (`is_check`). A hold that is there
-- already is left as it is: whoever did not hear the answer may ask again.
--
-- KEYS: meta, holds, due, then the payer's hash and those of the other accounts.
-- ARGV: clock, epoch, seen; call, length in ms, {"revs":[[key, revision]...],"bounds":[...]},
--       postings, and the lines of the hold's record from the second on: an empty one, payer, calls,
--       labels, postings, accounts; the moment after which it is not done any more, or 0.

local id, length = ARGV[4], tonumber(ARGV[5])
if has_lost() then
  return reply('lost')
end
local before = not is_check and call('HGET', KEYS[2], id)
if before then
  return reply('held', before)
end
-- Whoever asked has given up by then, and has it released.
local latest = tonumber(ARGV[9])
if latest > 0 and now > latest then
  return reply('late')
end
local asked = cjson.decode(ARGV[6])
local cells, accounts = cells_of(cjson.decode(ARGV[7]), function(place) return KEYS[4 + place] end)
if is_stale(asked.revs, accounts) then
  return reply('stale')
end
for index, one in ipairs(cells) do
  local cell = one.cell
  -- What is out on lease may be used up at any moment.
  local value = cell.value + cell.leased + cell.asked
  local after = value + one.amount
  -- false, or {1, most}, or {-1, least}
  local bound = asked.bounds[index]
  local fits = after <= MOST and after >= -MOST
    and (not bound or (bound[1] == 1 and after <= bound[2]) or (bound[1] == -1 and after >= bound[2]))
  if not fits then
    if not is_check then
      save_time()
    end
    return reply('refused', whole(index - 1), whole(value), cell.text or '')
  end
  cell.asked = cell.asked + one.amount
end

if is_check then
  return reply('fits')
end
apply(accounts, now)
for _, account in pairs(accounts) do
  account.last = max(account.last, now)
  local balance = account.cells['balance@l']
  account.held = account.held - (balance and balance.asked or 0)
end
write_accounts(accounts)
local deadline = max(0, now + length)
local hold = whole(now) .. ' ' .. whole(deadline) .. ' -\n' .. ARGV[8]
call('HSET', KEYS[2], id, hold)
call('ZADD', KEYS[3], whole(deadline), 'hold:' .. id)
save_time()
return reply('held', hold)
