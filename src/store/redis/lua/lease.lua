-- What an instance may sell on its own while it cannot reach us: credits, and room of every counter that a
-- call of one key is bound by. The credits are held; the room counts as used (`leased` of each account).
--
-- KEYS: meta, leases, due, then the payer's hash and those of the other accounts; the journal is the last.
-- ARGV: clock, epoch, seen; the lease's id, what is done with it, and for that:
--   take, extend  {instance, run, payer, accounts, length, share, revs:[[key, revision]...],
--                  wants:[[counter, place, each, most, bound]...]}
--   end           nothing: its instance sells from it no more and has reported all that it sold
--   forget        nothing: as `end`, but calls that were under way may have been lost with their instance,
--                 so room of rolling windows lapses
--   look          nothing: is anybody there?
--   lapse         nothing: rooms go whose windows have passed since its end
--   settle        {how: "spent" or "returned", journal's length, detail, audit}

if has_lost() then
  return reply('lost')
end
local id, deed = ARGV[4], ARGV[5]
local text = call('HGET', KEYS[2], id)
local lease = text and cjson.decode(text)
local plan = ARGV[6] and cjson.decode(ARGV[6])

local function save()
  call('HSET', KEYS[2], id, cjson.encode(lease))
end

local function write_leased(key, leased)
  if next(leased) then
    call('HSET', key, 'leased', cjson.encode(leased))
  else
    call('HDEL', key, 'leased')
  end
end

local function add_leased(leased, field, amount)
  local sum = tonumber(leased[field] or 0) + amount
  leased[field] = sum > 0 and whole(sum) or nil
end

-- Gives up those rooms that `goes` names; are there others left?
local function give_up(goes)
  local by_place, is_left = {}, false
  for _, room in ipairs(lease.rooms) do
    local amount = tonumber(room[2])
    if amount > 0 and goes(room[1]) then
      local leased = by_place[room[3]]
      if not leased then
        leased = cjson.decode(call('HGET', KEYS[4 + room[3]], 'leased') or '{}')
        by_place[room[3]] = leased
      end
      add_leased(leased, room[1], -amount)
      room[2] = '0'
    elseif amount > 0 and sub(room[1], -2) ~= '@l' then
      is_left = true
    end
  end
  for place, leased in pairs(by_place) do
    write_leased(KEYS[4 + place], leased)
  end
  return is_left
end

-- Both are whole numbers below 2^53: the credits come back from what is held.
local function give_back_credits(returns)
  local left = tonumber(lease.left)
  lease.left = '0'
  if left ~= 0 then
    call('HINCRBY', KEYS[4], 'held', whole(-left))
    if returns then
      call('HINCRBY', KEYS[4], 'balance@l', whole(left))
    end
  end
  return left
end

local function own_room(field, place)
  if not lease then
    return nil, 0
  elseif field == 'balance@l' then
    return nil, tonumber(lease.left)
  end
  for _, room in ipairs(lease.rooms) do
    if room[1] == field and room[3] == place then
      return room, tonumber(room[2])
    end
  end
  return nil, 0
end

-- A lease only ever grows: whoever did not hear the answer knows of less than there is.
local function grow()
  if deed == 'extend' and not (lease and lease.state == 'open') then
    return reply('gone')
  end
  local asked = {}
  for index, want in ipairs(plan.wants) do
    asked[index] = { want[1], 0, want[2] }
  end
  local cells, accounts = cells_of(asked, function(place) return KEYS[4 + place] end)
  if is_stale(plan.revs, accounts) then
    return reply('stale')
  end
  local rooms = {}
  for index, want in ipairs(plan.wants) do
    local one = cells[index]
    local cell, bound = one.cell, want[5]
    local room, own = own_room(one.field, want[2])
    local free
    if bound and bound[1] == -1 then
      free = cell.value + own - bound[2]
    else
      free = (bound and bound[2] or MOST) - (cell.value + cell.leased - own)
    end
    local amount = min(want[4], floor(free / plan.share))
    -- Room that is too small for a call is better left to others.
    amount = max(own, amount >= want[3] and amount or 0)
    rooms[index] = { kept = room, amount = amount, more = amount - own }
  end
  lease = lease or { instance = plan.instance, run = plan.run, payer = plan.payer, accounts = plan.accounts,
    granted = whole(now), reported = '0', left = '0', state = 'open', rooms = {} }
  local told = {}
  for index, one in ipairs(cells) do
    local room = rooms[index]
    told[index] = whole(room.amount)
    if one.field == 'balance@l' then
      one.cell.asked = -room.more
      one.account.held = one.account.held + room.more
      lease.left = whole(room.amount)
    else
      add_leased(one.account.leased, one.field, room.more)
      if room.kept then
        room.kept[2] = told[index]
      else
        lease.rooms[#lease.rooms + 1] = { one.field, told[index], plan.wants[index][2] }
      end
    end
  end
  apply(accounts, now)
  write_accounts(accounts)
  for _, account in pairs(accounts) do
    write_leased(account.key, account.leased)
  end
  lease['until'] = whole(max(tonumber(lease['until'] or 0), now + plan.length))
  save()
  call('ZADD', KEYS[3], lease['until'], 'lease:' .. id)
  return reply('done', lease['until'], told)
end

-- Whatever was sold until its end counts no more in this window.
local function has_passed(field)
  local ended, window = tonumber(lease['until']), match(field, '@([^@]*)$')
  if window == 'l' then
    return false
  elseif window == 'd' or window == 'm' then
    return period_of(window, now) > period_of(window, ended)
  end
  return bucket_of(window, now) - BUCKETS > bucket_of(window, ended)
end

local function lapse()
  local ended = tonumber(lease['until'])
  if now < ended then
    return
  elseif give_up(has_passed) then
    call('ZADD', KEYS[3], whole(now + 60000), 'lease:' .. id)
  else
    call('ZREM', KEYS[3], 'lease:' .. id)
    if lease.state == 'closed' then
      return call('HDEL', KEYS[2], id)
    end
  end
  save()
end

local function forget()
  give_up(function(field) return not match(field, '@%d+$') end)
  give_back_credits(true)
  lease.state, lease['until'] = 'closed', whole(now)
  lapse()
end

-- Its instance may come back yet: then it is told that all is settled.
local function settle()
  if not lease then
    return reply('missing')
  elseif lease.state == 'settled' then
    return reply('settled')
  elseif now < tonumber(lease['until']) then
    return reply('early', lease['until'])
  end
  local left = give_back_credits(plan.how == 'returned')
  if left ~= 0 and plan.how == 'spent' then
    journal(KEYS[#KEYS], plan.most, 'kind', 'adjust', 'account', lease.payer, 'amount', whole(-left),
      'detail', plan.detail)
  end
  if plan.audit then
    journal(KEYS[#KEYS], plan.most, 'kind', 'audit', 'amount', '0', 'detail', plan.audit)
  end
  lease.state = 'settled'
  -- What goes by windows lapses with them.
  give_up(function(field) return sub(field, -2) == '@l' end)
  save()
  return reply('done', whole(left))
end

local answer
if deed == 'take' or deed == 'extend' then
  answer = grow()
elseif deed == 'settle' then
  answer = settle()
elseif deed == 'lapse' then
  if lease then
    lapse()
  else
    call('ZREM', KEYS[3], 'lease:' .. id)
  end
elseif lease and deed == 'forget' then
  forget()
elseif lease and deed == 'end' then
  give_up(function() return true end)
  give_back_credits(true)
  call('HDEL', KEYS[2], id)
  call('ZREM', KEYS[3], 'lease:' .. id)
end
save_time()
return answer or reply('done')
