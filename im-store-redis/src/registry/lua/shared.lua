-- Before every script of the registry. All keys begin with KEYS[1], which has a hash tag: one slot.
--   :node:NODE   the epoch of its lease; gone when the lease is over, by this server's clock
--   :user:USER   device -> "EPOCH CONNECTION NODE"
--   :of:EPOCH    "USER\nDEVICE" of what was written under a lease, to find it when that is over
--   :epochs      "EPOCH NODE" by epoch: leases that are not tidied up yet
--   :epoch       the last one given
-- No id has a control character, so none has the newline.
local base = KEYS[1]

local function lease_of(node)
  return redis.call('GET', base .. ':node:' .. node)
end

local function user_key(user)
  return base .. ':user:' .. user
end

local function written_under(epoch)
  return base .. ':of:' .. epoch
end

local function epoch_of(route)
  return string.match(route, '^(%d+) ')
end

local function is_live(route)
  local epoch, node = string.match(route, '^(%d+) %d+ (.+)$')
  return epoch and lease_of(node) == epoch
end

local function write(user, device, route, epoch, old)
  local member = user .. '\n' .. device
  redis.call('HSET', user_key(user), device, route)
  redis.call('SADD', written_under(epoch), member)
  local before = old and epoch_of(old)
  if before and before ~= epoch then
    redis.call('SREM', written_under(before), member)
  end
end

-- Takes away some of what ended leases left; the others of the server wait meanwhile.
local EPOCHS_MAX, ROUTES_MAX = 1000, 500
local function tidy_up()
  local left = ROUTES_MAX
  for _, member in ipairs(redis.call('ZRANGE', base .. ':epochs', 0, EPOCHS_MAX - 1)) do
    local epoch, node = string.match(member, '^(%d+) (.+)$')
    if lease_of(node) ~= epoch then
      local gone = redis.call('SPOP', written_under(epoch), left)
      for _, it in ipairs(gone) do
        local user, device = string.match(it, '^(.+)\n(.+)$')
        local route = redis.call('HGET', user_key(user), device)
        if route and epoch_of(route) == epoch then
          redis.call('HDEL', user_key(user), device)
        end
      end
      left = left - #gone
      if left <= 0 then
        return
      end
      redis.call('ZREM', base .. ':epochs', member)
    end
  end
end

