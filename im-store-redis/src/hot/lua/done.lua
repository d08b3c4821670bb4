
-- ARGV: two bounds, then log by log the lane's place in KEYS, the log, under which number, up to
-- where the store has it, when that was read, how many cursors, and those.
-- The most entries that one call takes off one log: others of the server wait meanwhile.
local TRIM_MAX = 256
-- So many of those that are kept are taken off at once, one part of so many.
local SLACK_PART = 8
local keep, keep_ms = tonumber(ARGV[1]), tonumber(ARGV[2])
local slack = math.floor(keep / SLACK_PART)
-- How often is looked for what is too old.
local look_ms = keep_ms / 64
local at, now, less_waiting = 3, now_ms(), {}
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
  return now - tonumber(string.match(blob, '^[^\n]*\n[^\n]*\n%d+\n(%-?%d+)\n')) > keep_ms
end

-- How many of so many are too old, behind those that go anyhow.
local function count_old(log, count, most)
  if count < most and is_old(redis.call('LINDEX', log, num(count))) then
    for _, blob in ipairs(redis.call('LRANGE', log, num(count), num(most - 1))) do
      if not is_old(blob) then
        break
      end
      count = count + 1
    end
  end
  return count
end

local function trim(conv, first, cold, head, whole, is_time)
  local log, most = key('l', conv), math.min(cold - first + 1, TRIM_MAX)
  local over = head - first + 1 - keep
  local count = over > slack and math.min(most, over) or 0
  if is_time then
    count = count_old(log, count, most)
  end
  if count == 0 then
    return
  end
  local ids, largest = {}, {}
  for _, blob in ipairs(redis.call('LRANGE', log, 0, num(count - 1))) do
    local sender, cm_id = string.match(blob, '^([^\n]*)\n([^\n]*)\n')
    if cm_id ~= '' then
      ids[#ids + 1] = sender .. '\n' .. cm_id
      if not largest[sender] or less(largest[sender], cm_id) then
        largest[sender] = cm_id
      end
    end
  end
  with_all('HDEL', key('c', conv), ids)
  for sender, cm_id in pairs(largest) do
    raise(conv, whole, sender, cm_id)
  end
  redis.call('LTRIM', log, num(count), -1)
  redis.call('HSET', key('c', conv), 'f', num(first + count))
  if #ids > 0 and whole == '2' then
    redis.call('HSET', key('c', conv), 'w', '1')
  end
end

-- Cursors that the store has, if no later ones came. Whether any are left.
local function forget_cursors(conv, from, count)
  for i = from, from + 2 * count - 1, 2 do
    if redis.call('HGET', key('u', conv), ARGV[i]) == ARGV[i + 1] then
      redis.call('HDEL', key('u', conv), ARGV[i])
    end
  end
  local are_left = redis.call('EXISTS', key('u', conv)) == 1
  if not are_left then
    redis.call('HDEL', key('c', conv), 'k')
  end
  return are_left
end

local function one()
  base = KEYS[tonumber(arg())]
  local conv, holder, upto, as_of, cursors = arg(), arg(), arg(), tonumber(arg()), tonumber(arg())
  local from = at
  at = at + 2 * cursors
  local s = redis.call('HMGET', key('c', conv), 't', 'h', 'c', 'f', 'w', 'k', 'o')
  if s[1] ~= holder then
    return
  end
  local head, cold = tonumber(s[2]), tonumber(s[3])
  local reached = math.min(tonumber(upto), head)
  local is_time = now - tonumber(s[7]) > look_ms
  if reached > cold then
    less_waiting[base] = (less_waiting[base] or 0) + reached - cold
    cold = reached
    redis.call('HSET', key('c', conv), 'c', num(cold), 'o', is_time and num(now) or s[7])
  end
  local are_left = s[6] and forget_cursors(conv, from, cursors)
  if cold == head and not are_left then
    redis.call('ZREM', base .. ':dirty', conv)
  elseif as_of > 0 then
    local since = redis.call('ZSCORE', base .. ':dirty', conv)
    if since and as_of > tonumber(since) then
      redis.call('ZADD', base .. ':dirty', num(as_of), conv)
    end
  end
  trim(conv, tonumber(s[4]), cold, head, s[5], is_time)
end

while at <= #ARGV do
  one()
end
for lane, count in pairs(less_waiting) do
  redis.call('DECRBY', lane .. ':waiting', num(count))
end
return 1
