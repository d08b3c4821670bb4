
local conv, holder = ARGV[1], ARGV[2]
local there = redis.call('HGET', key('c', conv), 't')
if not there or (holder ~= '' and holder ~= there) then
  return {}
end
local closing = num(redis.call('HINCRBY', key('c', conv), 'y', 1))
redis.call('HSET', key('c', conv), 'x', closing)
local it = pending(conv, -1, now_ms())
it[8] = closing
return { it }
