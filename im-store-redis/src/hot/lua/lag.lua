
local found = {}
for i, lane in ipairs(KEYS) do
  local oldest = redis.call('ZRANGE', lane .. ':dirty', 0, 0, 'WITHSCORES')[2] or ''
  found[i] = { num(now_ms()), oldest, redis.call('GET', lane .. ':waiting') or '0' }
end
return found
