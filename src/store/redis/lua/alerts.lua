-- Rules for alerts and what they had to say, for all instances.
--
-- KEYS: a hash (rules, turn of the rules, last id, how many the host has to read; owner, until and looked:
-- who looks at keys, and up to when that was done), the cooldowns, what waits to be read, the journal of
-- what belongs to no tenant. ARGV: what to do, then
--   look    who asks, length of its turn in ms
--   looked  who asks, moment
--   leave   who asks
--   rules   the rules, '1' if whoever asks knew the present ones, entry of the audit log or '', its time,
--           length of the journal
--   fire    now, most that wait, length of the journal, then for each: its cooldown, until, tenant, record,
--           entry of the audit log
--   read    '1' for a tenant, whose or '*', '1' if they are not shown again

local HASH, COOLING, PENDING, JOURNAL = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function whole(number)
  return string.format('%d', number)
end

local function note(at, most, text)
  call('XADD', JOURNAL, 'MAXLEN', '~', most, '*', 'at', at, 'kind', 'audit', 'amount', '0', 'detail', text)
end

local function waiting()
  return whole(tonumber(call('HGET', HASH, 'host') or 0))
end

local deeds = {}

function deeds.look()
  local found = call('HMGET', HASH, 'owner', 'until', 'looked', 'turn')
  local is_mine = found[1] == ARGV[2] or now >= tonumber(found[2] or 0)
  if is_mine then
    call('HSET', HASH, 'owner', ARGV[2], 'until', whole(now + ARGV[3]))
  end
  return { is_mine and '1' or '0', found[3] or '0', whole(now), waiting() }
end

function deeds.leave()
  if call('HGET', HASH, 'owner') == ARGV[2] then
    call('HSET', HASH, 'until', '0')
  end
  return {}
end

function deeds.looked()
  if call('HGET', HASH, 'owner') == ARGV[2] then
    call('HSET', HASH, 'looked', ARGV[3])
  end
  return { waiting() }
end

function deeds.rules()
  if call('HGET', HASH, 'rules') == ARGV[2] and ARGV[3] ~= '1' then
    return { 'known' }
  end
  call('HSET', HASH, 'rules', ARGV[2], 'host', '0')
  call('UNLINK', COOLING, PENDING)
  if ARGV[4] ~= '' then
    note(ARGV[5], ARGV[6], ARGV[4])
  end
  return { 'set' }
end

local function drop(id)
  local record = call('HGET', PENDING, id)
  if record then
    call('HDEL', PENDING, id)
    if string.byte(record) == 49 then
      call('HINCRBY', HASH, 'host', -1)
    end
  end
end

function deeds.fire()
  local at, most = tonumber(ARGV[2]), tonumber(ARGV[3])
  local fired = 0
  for place = 5, #ARGV, 5 do
    local cools = call('ZSCORE', COOLING, ARGV[place])
    if not cools or tonumber(cools) <= at then
      fired = fired + 1
      call('ZADD', COOLING, ARGV[place + 1], ARGV[place])
      local id = call('HINCRBY', HASH, 'last', 1)
      call('HSET', PENDING, whole(id), '11' .. ARGV[place + 2] .. '\n' .. ARGV[place + 3])
      call('HINCRBY', HASH, 'host', 1)
      drop(whole(id - most))
      note(ARGV[2], ARGV[4], ARGV[place + 4])
    end
  end
  local over = call('ZRANGEBYSCORE', COOLING, '-inf', ARGV[2], 'LIMIT', 0, 1000)
  if #over > 0 then
    call('ZREM', COOLING, unpack(over))
  end
  return { whole(fired), waiting() }
end

function deeds.read()
  local whose, namespace = ARGV[2] == '1' and 2 or 1, ARGV[3]
  local all, ids, found = call('HGETALL', PENDING), {}, {}
  for place = 1, #all, 2 do
    local flags, tenant, record = string.match(all[place + 1], '^(%d%d)([^\n]*)\n(.*)$')
    local is_new = string.sub(flags, whose, whose) == '1'
    if is_new and (namespace == '*' or namespace == tenant) then
      local id = tonumber(all[place])
      ids[#ids + 1] = id
      found[id] = { flags, tenant, record }
    end
  end
  table.sort(ids)
  local records = {}
  for index, id in ipairs(ids) do
    local flags, tenant, record = unpack(found[id])
    records[index] = record
    if ARGV[4] == '1' then
      local left = whose == 1 and '0' .. string.sub(flags, 2) or string.sub(flags, 1, 1) .. '0'
      if whose == 1 then
        call('HINCRBY', HASH, 'host', -1)
      end
      if left == '00' then
        call('HDEL', PENDING, whole(id))
      else
        call('HSET', PENDING, whole(id), left .. tenant .. '\n' .. record)
      end
    end
  end
  return { waiting(), records }
end

return deeds[ARGV[1]]()
