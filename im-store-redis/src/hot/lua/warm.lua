
local conv, holder, head, version, first, whole = unpack(ARGV, 1, 6)
local there = redis.call('HGET', key('c', conv), 't')
if there then
  return there
end
redis.call('DEL', key('l', conv), key('n', conv), key('u', conv))
redis.call('HSET', key('c', conv), 't', holder, 'h', head, 'c', head, 'v', version, 'f', first,
  'w', whole, 'x', '1', 'y', '1', 'r', life(), 'o', '0', '', string.rep('-', 128))
note_used(conv, now_ms())
for i = 7, #ARGV, 3 do
  redis.call('RPUSH', key('l', conv), ARGV[i])
  if ARGV[i + 1] ~= '' then
    redis.call('HSET', key('c', conv), ARGV[i + 1], ARGV[i + 2])
  end
end
return holder
