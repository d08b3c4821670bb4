
-- The logs that nobody appends to, and that are given back: so many of a lane in one call.
local IDLE_MAX = 16
local worker, lease, limit, idle = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local now, found = now_ms(), {}

local function take_dirty()
  local left = limit
  for _, conv in ipairs(redis.call('ZRANGE', base .. ':dirty', 0, num(limit - 1))) do
    local it = pending(conv, limit, now)
    if it then
      found[#found + 1] = it
      left = left - math.max(1, #it[7])
    else
      redis.call('ZREM', base .. ':dirty', conv)
    end
    if left <= 0 then
      break
    end
  end
end

local function take_idle()
  local before = num(now - idle)
  local unused = redis.call('ZRANGEBYSCORE', base .. ':used', '-inf', before, 'LIMIT', 0, IDLE_MAX)
  for _, conv in ipairs(unused) do
    if not redis.call('ZSCORE', base .. ':dirty', conv) then
      local it = pending(conv, 1, now)
      if it then
        it[5] = '1'
        found[#found + 1] = it
        -- Not again in the next call: that one goes on from there.
        redis.call('ZADD', base .. ':used', num(now), conv)
      else
        redis.call('ZREM', base .. ':used', conv)
      end
    end
  end
end

for _, lane in ipairs(KEYS) do
  base = lane
  local holder = redis.call('GET', base .. ':lease')
  if not holder or holder == worker then
    redis.call('SET', base .. ':lease', worker, 'PX', lease)
    take_dirty()
    take_idle()
  end
end
return found
