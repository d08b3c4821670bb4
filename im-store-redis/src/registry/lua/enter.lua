local node, ttl = ARGV[1], ARGV[2]
if lease_of(node) then
  return { 'fenced' }
end
-- By the clock, so that it grows even when everything was forgotten.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local last = tonumber(redis.call('GET', base .. ':epoch') or '0')
local epoch = string.format('%.0f', math.max(last + 1, now))
redis.call('SET', base .. ':epoch', epoch)
redis.call('SET', base .. ':node:' .. node, epoch, 'PX', ttl)
redis.call('ZADD', base .. ':epochs', epoch, epoch .. ' ' .. node)
tidy_up()
return { 'ok', epoch }
