
local oldest = redis.call('ZRANGE', base .. ':dirty', 0, 0, 'WITHSCORES')[2] or ''
return { num(now_ms()), oldest, redis.call('GET', base .. ':waiting') or '0' }
