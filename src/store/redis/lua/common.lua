-- What every script begins with: time, whole numbers, counters. A counter decides exactly as
-- `src/ledger/counter.rs` does; which counters there are and what bounds them is not known here.
--
-- KEYS[1] is always the namespace's `meta`, the last key its journal; ARGV[1] the clock in epoch ms or 0
-- for the server's own, ARGV[2] the epoch that the caller knows or '', ARGV[3] the newest journal row
-- that it has seen: its number, and its mark if that is known.

local MOST = 9007199254740991
local DAY_MS = 86400000
local BUCKETS = 60

-- Looked up once: a script runs for microseconds.
local call = redis.call
local format, match, sub, byte, find = string.format, string.match, string.sub, string.byte, string.find
local floor, max, min = math.floor, math.max, math.min

-- Never tostring() or `..` on a number: both round beyond 14 digits.
local function whole(number)
  return format('%d', number)
end

-- What is not there is false in Lua.
local meta = call('HMGET', KEYS[1], 'now', 'seq', 'epoch', 'rev', 'mark', 'lost', 'closed')
local seq = tonumber(meta[2] or 0)
local epoch = meta[3] or ''
local mark = meta[5] or ''

-- Ledger time: the later of the clock and the last moment seen, so it never runs backwards.
local clock = tonumber(ARGV[1])
if clock == 0 then
  local time = call('TIME')
  clock = time[1] * 1000 + floor(time[2] / 1000)
end
-- The last moment seen, as it is kept.
local saved = tonumber(meta[1] or 0)
local now = max(clock, saved)
local now_text = whole(now)

local function reply(status, ...)
  return { status, now_text, whole(saved), whole(seq) .. ' ' .. mark, epoch, ... }
end

-- Is the row that the caller has seen another one now? Others may have gone on from where Redis came back.
local function is_other_row(number, known)
  if seq == number then
    return mark ~= known
  end
  local id = whole(number) .. '-0'
  local row = call('XRANGE', KEYS[#KEYS], id, id)[1]
  -- One that is not there any more was trimmed; the first fields are the moment and the mark.
  return row and row[2][3] == 'mark' and row[2][4] ~= known
end

-- Redis has come back with less than the caller has seen. Then nobody is sold anything until an operator
-- has looked, also those who have seen less. Nor is anybody while these books are repaired or moved.
local function has_lost()
  if (ARGV[2] ~= '' and ARGV[2] ~= epoch) or meta[6] or meta[7] then
    return true
  end
  local number, known = match(ARGV[3], '^(%d+) ?(%x*)$')
  number = tonumber(number)
  if seq < number or (known ~= '' and is_other_row(number, known)) then
    call('HSET', KEYS[1], 'lost', now_text)
    return true
  end
  return false
end

local function save_head()
  call('HSET', KEYS[1], 'seq', whole(seq), 'mark', mark)
end

local function save_time()
  saved = now
  call('HSET', KEYS[1], 'now', now_text, 'seq', whole(seq), 'mark', mark)
end

-- Appends a row to the journal. Its id is its number, so that a gap shows; its mark follows from `what`, which
-- tells it from any other, and from all rows before it, so that another history shows.
local function append(key, most, what, ...)
  seq = seq + 1
  mark = sub(redis.sha1hex(mark .. now_text .. what), 1, 12)
  call('XADD', key, 'MAXLEN', '~', most, whole(seq) .. '-0', 'at', now_text, 'mark', mark, ...)
end

local function journal(key, most, ...)
  append(key, most, table.concat({ ... }, ' '), ...)
end

-- The UTC month of a moment, counted from January of year 0.
local function month_of(ms)
  local day = floor(ms / DAY_MS) + 719468
  local era = floor(day / 146097)
  local of_era = day - era * 146097
  local year = floor(
    (of_era - floor(of_era / 1460) + floor(of_era / 36524) - floor(of_era / 146096)) / 365)
  local of_year = of_era - (365 * year + floor(year / 4) - floor(year / 100))
  local month = floor((5 * of_year + 2) / 153)
  -- The year of this count begins in March.
  return (year + era * 400) * 12 + month + 2
end

local month_at, month_is
local function month(ms)
  if month_at ~= ms then
    month_at, month_is = ms, month_of(ms)
  end
  return month_is
end

-- A counter in the hand: `value` is its value now. How it is kept as text:
--   for ever   value
--   a period   period:value
--   rolling    sum newest:count bucket:count ...    (the older buckets oldest first)
local function period_of(window, ms)
  if window == 'd' then
    return floor(ms / DAY_MS)
  end
  return month(ms)
end

local function bucket_of(window, ms)
  local width = max(1, floor((tonumber(window) + BUCKETS - 1) / BUCKETS))
  return floor(ms / width)
end

local function read_rolling(cell, text)
  local present = bucket_of(cell.window, now)
  cell.sum, cell.newest, cell.count, cell.older = 0, present, 0, ''
  if text then
    local sum, newest, count, older = match(text, '^(%-?%d+) (%d+):(%-?%d+)(.*)$')
    local first = present - BUCKETS
    if tonumber(newest) >= first then
      sum = tonumber(sum)
      -- The oldest stand in front: all that has left the window goes, mostly nothing.
      local from = 1
      while true do
        local bucket, leaving, behind = match(older, '^ (%d+):(%-?%d+)()', from)
        if not bucket or tonumber(bucket) >= first then
          break
        end
        sum = sum - tonumber(leaving)
        from = behind
      end
      if from > 1 then
        older = sub(older, from)
      end
      cell.sum, cell.newest, cell.count, cell.older = sum, tonumber(newest), tonumber(count), older
    end
  end
  cell.value = cell.sum
end

local function read_counter(field, text)
  local window = byte(field, -2) == 64 and sub(field, -1) or match(field, '@([^@]*)$')
  local cell = { window = window, text = text, asked = 0 }
  if window == 'l' then
    cell.value = tonumber(text or 0)
  elseif window == 'd' or window == 'm' then
    local period, value = match(text or '-1:0', '^(%-?%d+):(%-?%d+)$')
    cell.period, cell.counted = tonumber(period), tonumber(value)
    cell.value = cell.period == period_of(window, now) and cell.counted or 0
  else
    read_rolling(cell, text)
  end
  return cell
end

local function add_rolling(cell, bucket, amount)
  if bucket > cell.newest then
    if cell.count ~= 0 then
      cell.older = cell.older .. ' ' .. whole(cell.newest) .. ':' .. whole(cell.count)
    end
    cell.newest, cell.count = bucket, 0
  end
  if bucket == cell.newest then
    cell.count = cell.count + amount
    cell.sum = cell.sum + amount
    return
  end
  -- Given back to an older bucket; one that has left the window gets nothing.
  local head = ' ' .. whole(bucket) .. ':'
  local from, to = find(cell.older, head, 1, true)
  if from then
    local count, behind = match(cell.older, '^(%-?%d+)()', to + 1)
    count = tonumber(count) + amount
    local kept = count ~= 0 and head .. whole(count) or ''
    cell.older = sub(cell.older, 1, from - 1) .. kept .. sub(cell.older, behind)
    cell.sum = cell.sum + amount
  elseif amount > 0 and bucket >= bucket_of(cell.window, now) - BUCKETS then
    -- Told late, of a time when nothing else was counted: it goes before the next younger one.
    local place = 1
    for at, behind in string.gmatch(cell.older, ' (%d+):%-?%d+()') do
      if tonumber(at) > bucket then
        break
      end
      place = behind
    end
    cell.older = sub(cell.older, 1, place - 1) .. head .. whole(amount) .. sub(cell.older, place)
    cell.sum = cell.sum + amount
  end
end

-- Adds in the window that a moment lies in. What belongs to a window that has passed is dropped.
local function add(cell, at, amount)
  if cell.window == 'l' then
    cell.value = cell.value + amount
  elseif cell.period then
    local period = period_of(cell.window, at)
    if period > cell.period then
      cell.period, cell.counted = period, amount
    elseif period == cell.period then
      cell.counted = cell.counted + amount
    end
  else
    add_rolling(cell, bucket_of(cell.window, at), amount)
  end
end

local function write_counter(cell)
  if cell.window == 'l' then
    return whole(cell.value)
  elseif cell.period then
    return whole(cell.period) .. ':' .. whole(cell.counted)
  end
  return whole(cell.sum) .. ' ' .. whole(cell.newest) .. ':' .. whole(cell.count) .. cell.older
end

-- Postings are `["counter@window", amount]` or `["counter@window", amount, place]`, as in the journal;
-- a `!` at the end says that a release leaves the amount. The counters of each account are read at once, and
-- those not again that `accounts` has already, by their keys.
local function cells_of(postings, key_at, accounts)
  accounts = accounts or {}
  local cells, unread = {}, {}
  for index, posting in ipairs(postings) do
    local key = key_at(posting[3] or 0)
    local field = posting[1]
    if byte(field, -1) == 33 then
      field = sub(field, 1, -2)
    end
    local account = accounts[key]
    if not account then
      account = { key = key, cells = {} }
      accounts[key] = account
    end
    if account.cells[field] == nil then
      account.cells[field] = false
      local fields = unread[account]
      if not fields then
        fields = {}
        unread[account] = fields
      end
      fields[#fields + 1] = field
    end
    cells[index] = { account = account, field = field, amount = posting[2] }
  end
  for account, fields in pairs(unread) do
    local found = call('HMGET', account.key, 'rev', 'held', 'last', 'leased', unpack(fields))
    if account.rev == nil then
      account.rev = found[1]
      account.held, account.last = tonumber(found[2] or 0), tonumber(found[3] or 0)
      -- What instances may use up on their own, by counter; mostly nothing.
      account.leased = found[4] and cjson.decode(found[4]) or {}
    end
    for index, field in ipairs(fields) do
      local cell = read_counter(field, found[index + 4] or nil)
      cell.leased = tonumber(account.leased[field] or 0)
      account.cells[field] = cell
    end
  end
  for _, one in ipairs(cells) do
    one.cell = one.account.cells[one.field]
  end
  return cells, accounts
end

-- Has a record changed since it was judged?
local function is_stale(revs, accounts)
  for _, expected in ipairs(revs) do
    -- Only a tenant may have no record.
    local key, rev = expected[1], meta[4] or '0'
    if key > 1 then
      local account = accounts[KEYS[key]]
      rev = account and account.rev or call('HGET', KEYS[key], 'rev')
    end
    if rev ~= expected[2] then
      return true
    end
  end
  return false
end

-- Adds to every counter what was asked of it, at a moment. What is taken from a balance is held.
local function apply(accounts, at)
  for _, account in pairs(accounts) do
    for field, cell in pairs(account.cells) do
      if cell.asked ~= 0 then
        add(cell, at, cell.asked)
        cell.changed = true
      end
    end
  end
end

local function write_accounts(accounts)
  for _, account in pairs(accounts) do
    local values = { 'held', whole(account.held), 'last', whole(account.last) }
    for field, cell in pairs(account.cells) do
      if cell.changed then
        values[#values + 1] = field
        values[#values + 1] = write_counter(cell)
      end
    end
    call('HSET', account.key, unpack(values))
  end
end

-- Takes out an answer that was kept, and what it counted for.
local function forget_answer(key, id)
  local payer, answer = match(call('HGET', key, id) or '', '^%d+ %x+ %x+ (%S+)\n.(.*)$')
  if payer then
    call('HINCRBY', key, 'bytes:' .. payer, -#answer)
    if call('HINCRBY', key, 'answers:' .. payer, -1) <= 0 then
      call('HDEL', key, 'answers:' .. payer, 'bytes:' .. payer)
    end
    call('HDEL', key, id)
  end
end
