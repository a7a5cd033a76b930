-- The outbox of webhooks: one hash, in which one instance at a time has the right to send.
--
-- KEYS: the hash: owner, until (of its right), turn (counts owners), seen (last time anybody sent), begun,
-- at:{journal} (how far all is sent), letter:{id}, and numbers. ARGV: what to do, who asks, then
--   own     length of the right in ms, '1' if it may be taken from nobody or a dead one
--   leave
--   open    now, how long it may have been off in ms, then journal, place...
--   end     turn, number of the end, journals, then journal, place...; events, retries, lost,
--           letter or '', letters kept at most
--   letter  id, text or '' if it was taken, events in it
--   clear   id...

local KEY, deed, me = KEYS[1], ARGV[1], ARGV[2]
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function whole(number)
  return string.format('%d', number)
end

local function add(field, amount)
  if amount ~= 0 then
    return call('HINCRBY', KEY, field, whole(amount))
  end
end

local function is_mine()
  local found = call('HMGET', KEY, 'owner', 'until')
  return found[1] == me and now < tonumber(found[2] or 0)
end

local deeds = {}

function deeds.own()
  local found = call('HMGET', KEY, 'owner', 'until', 'turn')
  local free = now >= tonumber(found[2] or 0)
  if found[1] == me and not free then
    call('HSET', KEY, 'until', whole(now + ARGV[3]), 'seen', whole(now))
    return { 'mine', found[3] }
  elseif free and ARGV[4] == '1' then
    local turn = call('HINCRBY', KEY, 'turn', 1)
    call('HSET', KEY, 'owner', me, 'until', whole(now + ARGV[3]), 'seen', whole(now))
    return { 'mine', whole(turn) }
  end
  return { 'other', '' }
end

function deeds.leave()
  if is_mine() then
    call('HSET', KEY, 'until', '0')
  end
  return { 'done', '' }
end

function deeds.open()
  local found = call('HMGET', KEY, 'begun', 'seen')
  local is_stale = found[1] and tonumber(found[2] or 0) + tonumber(ARGV[4]) < now
  if not found[1] or is_stale then
    for place = 5, #ARGV, 2 do
      call('HSET', KEY, 'at:' .. ARGV[place], ARGV[place + 1])
    end
    call('HSET', KEY, 'begun', '1')
  end
  call('HSET', KEY, 'seen', whole(now))
  return { 'done', '' }
end

local function keep_letter(text, most)
  local dead = call('HINCRBY', KEY, 'dead', 1)
  call('HSET', KEY, 'letter:' .. whole(call('HINCRBY', KEY, 'last_dead', 1)), text)
  local oldest = tonumber(call('HGET', KEY, 'oldest') or 1)
  while dead > most do
    if call('HDEL', KEY, 'letter:' .. whole(oldest)) == 1 then
      dead = call('HINCRBY', KEY, 'dead', -1)
      add('dropped', 1)
    end
    oldest = oldest + 1
  end
  call('HSET', KEY, 'oldest', whole(oldest))
end

deeds['end'] = function()
  local turn, number, count = ARGV[3], ARGV[4], tonumber(ARGV[5])
  local found = call('HMGET', KEY, 'turn', 'ended')
  if not is_mine() or found[1] ~= turn then
    return { 'other', '' }
  end
  -- Whoever did not hear the answer asks again with the same words.
  if found[2] == turn .. ':' .. number then
    return { 'done', '' }
  end
  call('HSET', KEY, 'ended', turn .. ':' .. number)
  for place = 6, 5 + 2 * count, 2 do
    call('HSET', KEY, 'at:' .. ARGV[place], ARGV[place + 1])
  end
  local rest = 6 + 2 * count
  local events, letter = tonumber(ARGV[rest]), ARGV[rest + 3]
  if letter ~= '' then
    add('failed', 1)
    add('events_failed', events)
    keep_letter(letter, tonumber(ARGV[rest + 4]))
  elseif events > 0 then
    add('delivered', 1)
    add('events_delivered', events)
  end
  add('retries', tonumber(ARGV[rest + 1]))
  add('lost', tonumber(ARGV[rest + 2]))
  return { 'done', '' }
end

function deeds.letter()
  local field = 'letter:' .. ARGV[3]
  add('retries', 1)
  if ARGV[4] == '' then
    -- It may have been cleared meanwhile; it was taken all the same.
    add('dead', -call('HDEL', KEY, field))
    add('delivered', 1)
    add('events_delivered', tonumber(ARGV[5]))
  elseif call('HEXISTS', KEY, field) == 1 then
    call('HSET', KEY, field, ARGV[4])
  end
  return { 'done', '' }
end

function deeds.clear()
  for place = 3, #ARGV do
    add('dead', -call('HDEL', KEY, 'letter:' .. ARGV[place]))
  end
  return { 'done', '' }
end

return deeds[deed]()
