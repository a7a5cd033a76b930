-- Reserves all that each of some calls asks for, or nothing of it; or only says whether it could (`is_check`).
-- A hold that is there already is left as it is: whoever did not hear the answer may ask again. What the
-- calls have in common is read once and written once.
--
-- KEYS: meta, holds, due, then the hashes of all accounts.
-- ARGV: clock, epoch, seen; how many kinds of calls there are; of each kind:
--         {"accounts":[KEYS by place],"revs":[[key, revision]...],"bounds":[...]},
--         the lines of its record between its times and its postings, these, and those behind them;
--       of each call: id, length in ms, the moment after which it is not done any more or 0, its kind.
-- Answers for each call with a word, or with lines: held, since when; refused, which posting, value, counter.

if has_lost() then
  return reply('lost')
end
local FIRST = 5 + 4 * tonumber(ARGV[4])
local ids = {}
for place = FIRST, #ARGV, 4 do
  ids[#ids + 1] = ARGV[place]
end
local before = is_check and {} or call('HMGET', KEYS[2], unpack(ids))

local accounts, kinds = {}, {}
local function kind_of(number)
  local kind = kinds[number]
  if not kind then
    local place = 1 + 4 * number
    local postings = ARGV[place + 2]
    kind = cjson.decode(ARGV[place])
    kind.cells = cells_of(cjson.decode(postings),
      function(at) return KEYS[kind.accounts[at + 1]] end, accounts)
    kind.is_stale = is_stale(kind.revs, accounts)
    kind.record = ' -\n' .. ARGV[place + 1] .. '\n' .. postings .. '\n' .. ARGV[place + 3]
    kinds[number] = kind
  end
  return kind
end

-- Counts what was asked of a counter. What is taken from a balance is held.
local function count(account, field, cell)
  if cell.asked ~= 0 then
    local after = cell.value + cell.asked
    add(cell, now, cell.asked)
    if field == 'balance@l' then
      account.held = account.held - cell.asked
    end
    cell.value, cell.asked, cell.changed = after, 0, true
  end
end

-- Asks a call's amounts of their counters: all of them, or none and why not.
local function refused(kind)
  for index, one in ipairs(kind.cells) do
    local cell = one.cell
    -- What is out on lease may be used up at any moment.
    local value = cell.value + cell.leased + cell.asked
    local after = value + one.amount
    -- false, or {1, most}, or {-1, least}
    local bound = kind.bounds[index]
    local fits = after <= MOST and after >= -MOST
      and (not bound or (bound[1] == 1 and after <= bound[2]) or (bound[1] == -1 and after >= bound[2]))
    if not fits then
      for earlier = 1, index - 1 do
        local other = kind.cells[earlier]
        other.cell.asked = other.cell.asked - other.amount
      end
      local text = cell.text
      if cell.asked ~= 0 then
        -- The calls before this one count.
        count(one.account, one.field, cell)
        text = write_counter(cell)
      end
      return 'refused\n' .. whole(index - 1) .. '\n' .. whole(value) .. '\n' .. (text or '')
    end
    cell.asked = cell.asked + one.amount
  end
end

local results, holds, due, taken = {}, {}, {}, {}
local is_seen = false
local function hold(id, kind, length)
  taken[id] = true
  for _, one in ipairs(kind.cells) do
    one.account.pays = true
  end
  local deadline = whole(max(0, now + length))
  holds[#holds + 1] = id
  holds[#holds + 1] = now_text .. ' ' .. deadline .. kind.record
  due[#due + 1] = deadline
  due[#due + 1] = 'hold:' .. id
end

for index, id in ipairs(ids) do
  local place = FIRST + 4 * (index - 1)
  local latest = tonumber(ARGV[place + 2])
  local result
  if before[index] then
    result = 'held\n' .. match(before[index], '^%d+')
  elseif taken[id] then
    result = 'held\n' .. now_text
  elseif latest > 0 and now > latest then
    -- Whoever asked has given up by then, and has it released.
    result = 'late'
  else
    local kind = kind_of(tonumber(ARGV[place + 3]))
    result = kind.is_stale and 'stale' or refused(kind)
    is_seen = is_seen or result ~= 'stale'
    if not result then
      result = is_check and 'fits' or 'held\n' .. now_text
      hold(id, kind, tonumber(ARGV[place + 1]))
    end
  end
  results[index] = result
end
if is_check then
  return reply('done', results)
end

if #holds > 0 then
  local paying = {}
  for key, account in pairs(accounts) do
    if account.pays then
      for field, cell in pairs(account.cells) do
        count(account, field, cell)
      end
      account.last = max(account.last, now)
      paying[key] = account
    end
  end
  write_accounts(paying)
  call('HSET', KEYS[2], unpack(holds))
  call('ZADD', KEYS[3], unpack(due))
end
if is_seen then
  save_time()
end
return reply('done', results)
