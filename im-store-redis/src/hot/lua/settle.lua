
local conv, holder, closing, to = unpack(ARGV)
local s = redis.call('HMGET', key('c', conv), 't', 'h', 'c', 'x')
if s[1] ~= holder or s[4] ~= closing then
  return 0
end
if to ~= '' then
  redis.call('HSET', key('c', conv), 't', to, 'x', '0', 'r', life())
  return 1
end
redis.call('DECRBY', base .. ':waiting', num(tonumber(s[2]) - tonumber(s[3])))
redis.call('ZREM', base .. ':dirty', conv)
redis.call('ZREM', base .. ':used', conv)
for _, kind in ipairs({ 'c', 'l', 'n', 'u' }) do
  redis.call('DEL', key(kind, conv))
end
return 1
