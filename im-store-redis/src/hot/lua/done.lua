
-- The most entries that one call takes off one log: others of the server wait meanwhile.
local TRIM_MAX = 256
local keep, keep_ms = tonumber(ARGV[1]), tonumber(ARGV[2])
local at, now, less_waiting = 3, now_ms(), 0
local function arg()
  at = at + 1
  return ARGV[at - 1]
end

-- An id stands before the entries that are here from now on.
local function raise(conv, whole, sender, cm_id)
  local floor = redis.call('HGET', key('n', conv), sender)
  if (floor or whole ~= '0') and (not floor or floor == '' or less(string.sub(floor, 2), cm_id)) then
    redis.call('HSET', key('n', conv), sender, '=' .. cm_id)
  end
end

local function is_old(blob)
  return now - tonumber(string.match(blob, '^%d+\n(%-?%d+)\n')) > keep_ms
end

local function trim(conv, first, cold, head, whole)
  local log, most = key('l', conv), math.min(cold - first + 1, TRIM_MAX)
  local count = math.min(most, math.max(0, head - first + 1 - keep))
  while count < most and is_old(redis.call('LINDEX', log, count)) do
    count = count + 1
  end
  if count == 0 then
    return
  end
  local any = false
  for _, blob in ipairs(redis.call('LRANGE', log, 0, count - 1)) do
    local sender, cm_id = string.match(blob,
      '^%d+\n%-?%d+\n%d+\n[^\n]*\n[^\n]*\n[^\n]*\n([^\n]*)\n([^\n]*)\n')
    if cm_id ~= '' then
      redis.call('HDEL', key('d', conv), sender .. '\n' .. cm_id)
      raise(conv, whole, sender, cm_id)
      any = true
    end
  end
  redis.call('LTRIM', log, count, -1)
  redis.call('HSET', key('c', conv), 'f', num(first + count))
  if any and whole == '2' then
    redis.call('HSET', key('c', conv), 'w', '1')
  end
end

local function one()
  local conv, holder, upto, as_of, cursors = arg(), arg(), arg(), tonumber(arg()), tonumber(arg())
  local from = at
  at = at + 2 * cursors
  local s = redis.call('HMGET', key('c', conv), 't', 'h', 'c', 'f', 'w')
  if s[1] ~= holder then
    return
  end
  local head, cold = tonumber(s[2]), tonumber(s[3])
  local reached = math.min(tonumber(upto), head)
  if reached > cold then
    less_waiting = less_waiting + reached - cold
    cold = reached
    redis.call('HSET', key('c', conv), 'c', num(cold))
  end
  for i = from, from + 2 * cursors - 1, 2 do
    if redis.call('HGET', key('u', conv), ARGV[i]) == ARGV[i + 1] then
      redis.call('HDEL', key('u', conv), ARGV[i])
    end
  end
  local since = redis.call('ZSCORE', base .. ':dirty', conv)
  if since then
    if cold == head and redis.call('EXISTS', key('u', conv)) == 0 then
      redis.call('ZREM', base .. ':dirty', conv)
    elseif as_of > tonumber(since) then
      redis.call('ZADD', base .. ':dirty', num(as_of), conv)
    end
  end
  trim(conv, tonumber(s[4]), cold, head, s[5])
end

while at <= #ARGV do
  one()
end
if less_waiting > 0 then
  redis.call('DECRBY', base .. ':waiting', num(less_waiting))
end
return 1
