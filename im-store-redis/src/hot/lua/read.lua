
local conv, kind, a, b = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local s = redis.call('HMGET', key('c', conv), 't', 'h', 'c', 'f', 'x', 'k')
if not s[1] then
  return {}
end
local head, first = tonumber(s[2]), tonumber(s[4])
local from, to = 1, 0
if kind == 'after' then
  from, to = tonumber(a) + 1, math.min(tonumber(a) + tonumber(b), head)
  if from < first then
    to = 0
  end
elseif kind == 'before' then
  to = math.min(tonumber(a) - 1, head)
  from = math.max(first, to - tonumber(b) + 1)
elseif kind == 'sent' then
  local there = redis.call('HGET', key('c', conv), a)
  if there then
    from = tonumber(string.match(there, '^(%d+) '))
    to = from
  end
end
local blobs = {}
if from <= to then
  blobs = redis.call('LRANGE', key('l', conv), num(from - first), num(to - first))
end
local cursors = s[6] and redis.call('HGETALL', key('u', conv)) or {}
return { s[1], s[5], s[2], s[3], s[4], num(from), cursors, blobs }
