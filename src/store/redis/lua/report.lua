-- Calls that an instance sold from a lease while it could not reach us: as `resolve.lua`, but nothing was
-- held here. Each is booked once, by its number, which rises with every call of an instance.
--
-- KEYS: as `resolve.lua`, then the leases, then accounts.
-- ARGV: as `resolve.lua`, then the lease's id, and what a lease begins with of which nothing is known here;
--       answers to be kept come behind.
-- A resolution has more: {number, record: as it would have been held, free: the row's tail if it is free}.

if has_lost() then
  return reply('lost')
end
local lease = cjson.decode(call('HGET', KEYS[6], ARGV[6]) or ARGV[7])

-- An operator has settled the lease: what it was for is decided, and nothing is taken twice.
local function make_free(one)
  if lease.state ~= 'settled' then
    return
  end
  for index, posting in ipairs(one.terms.postings) do
    one.kept[index] = byte(posting[1], -1) == 33 and posting[2] or 0
  end
  if one.kind == 'capture' then
    one.kind, one.charged, one.tail, one.keep = 'release', 0, one.free, nil
  end
end

-- Counts what stays of a call where it happened. Its credits are those of the lease; what the lease has not
-- comes from the balance, because the customer was served.
local function book(one)
  local stays = {}
  for index, posting in ipairs(one.terms.postings) do
    stays[index] = { posting[1], one.kept[index], posting[3] or 0 }
  end
  local cells, accounts = cells_of(stays, function(place) return KEYS[one.accounts[place + 1]] end)
  for _, posting in ipairs(cells) do
    local amount = posting.amount
    if posting.field == 'balance@l' then
      local left = tonumber(lease.left)
      local from_lease = min(left, -amount)
      lease.left = whole(left - from_lease)
      posting.account.held = posting.account.held - from_lease
      amount = amount + from_lease
    end
    posting.cell.asked = posting.cell.asked + amount
  end
  local at = min(tonumber(one.at), now)
  apply(accounts, at)
  for _, account in pairs(accounts) do
    account.last = max(account.last, at)
  end
  write_accounts(accounts)
  lease.reported = whole(one.number)
end

local function save_lease()
  call('HSET', KEYS[6], ARGV[6], cjson.encode(lease))
end
