
local at = 1
local function arg()
  at = at + 1
  return ARGV[at - 1]
end

local backlog_max, age_max, note_after = tonumber(arg()), tonumber(arg()), tonumber(arg())
local now = now_ms()
local waiting = tonumber(redis.call('GET', base .. ':waiting') or '0')
local oldest = redis.call('ZRANGE', base .. ':dirty', 0, 0, 'WITHSCORES')[2]
local is_late = oldest and now - tonumber(oldest) > age_max
local stopped, added, now_living = {}, 0, life()

local function stop(conv, ...)
  stopped[conv] = true
  return { ... }
end

-- Whether none of these ids was used before the entries that are here.
local function are_new(conv, whole, from, count)
  if whole == '2' then
    return true
  end
  for i = 0, count - 1 do
    local id = ARGV[from + 5 * i]
    if id ~= '' then
      local sender, cm_id = string.match(id, '^(.-)\n(.*)$')
      local floor = redis.call('HGET', key('n', conv), sender)
      if not floor and whole == '0' then
        return false
      end
      if floor and floor ~= '' and not less(string.sub(floor, 2), cm_id) then
        return false
      end
    end
  end
  return true
end

local function push(conv, head, from, count)
  local blobs, ids = {}, {}
  for i = 0, count - 1 do
    local id, digest, message, time, blob = unpack(ARGV, from + 5 * i, from + 5 * i + 4)
    head = head + 1
    blobs[#blobs + 1] = blob
    if id ~= '' then
      ids[#ids + 1] = id
      ids[#ids + 1] = num(head) .. ' ' .. message .. ' ' .. time .. ' ' .. digest
    end
  end
  redis.call('RPUSH', key('l', conv), unpack(blobs))
  if #ids > 0 then
    redis.call('HSET', key('d', conv), unpack(ids))
  end
  redis.call('HSET', key('c', conv), 'h', num(head))
  added = added + count
  return head
end

local function move(conv, head, user, delivered, read)
  read = math.min(tonumber(read), head)
  delivered = math.max(math.min(tonumber(delivered), head), read)
  local old = redis.call('HGET', key('u', conv), user)
  if old then
    local was_delivered, was_read = string.match(old, '^(%d+) (%d+)$')
    delivered = math.max(delivered, tonumber(was_delivered))
    read = math.max(read, tonumber(was_read))
  end
  redis.call('HSET', key('u', conv), user, num(delivered) .. ' ' .. num(read))
end

local function one()
  local conv, expect, has_actor, asked = arg(), arg(), arg(), arg()
  local entries, floors, cursors = tonumber(arg()), tonumber(arg()), tonumber(arg())
  local e = at
  local f = e + 5 * entries
  local u = f + 2 * floors
  at = u + 3 * cursors
  if stopped[conv] then
    return { 'later' }
  end
  local s = redis.call('HMGET', key('c', conv), 't', 'h', 'v', 'f', 'w', 'x', 'a', 'r')
  if not s[1] then
    return stop(conv, 'cold')
  end
  if s[6] ~= '0' then
    return stop(conv, 'closed')
  end
  if s[8] ~= now_living then
    return stop(conv, 'doubtful')
  end
  local found, is_sent = { 'sent', s[3] }, false
  for i = 0, entries - 1 do
    local id = ARGV[e + 5 * i]
    if id ~= '' then
      local there = redis.call('HGET', key('d', conv), id)
      found[#found + 1] = there or ''
      is_sent = is_sent or there
    end
  end
  if is_sent then
    return found
  end
  local was_asked = asked == s[4]
  if not was_asked and not are_new(conv, s[5], e, entries) then
    return stop(conv, 'ask', s[4])
  end
  if expect ~= '' and expect ~= s[3] then
    if has_actor == '1' then
      return stop(conv, 'version', s[3])
    end
    return { 'conflict' }
  end
  if entries > 0 and (is_late or waiting + added >= backlog_max) then
    return { 'busy' }
  end
  if was_asked then
    for j = 0, floors - 1 do
      redis.call('HSETNX', key('n', conv), ARGV[f + 2 * j], ARGV[f + 2 * j + 1])
    end
  end
  local head = tonumber(s[2])
  local first = num(head + 1)
  if entries > 0 then
    head = push(conv, head, e, entries)
  end
  for j = 0, cursors - 1 do
    move(conv, head, ARGV[u + 3 * j], ARGV[u + 3 * j + 1], ARGV[u + 3 * j + 2])
  end
  redis.call('ZADD', base .. ':dirty', 'NX', num(now), conv)
  if now - tonumber(s[7]) > note_after then
    note_used(conv, now)
  end
  return { 'done', first, s[3], s[1] }
end

local answers = {}
while at <= #ARGV do
  answers[#answers + 1] = one()
end
if added > 0 then
  redis.call('INCRBY', base .. ':waiting', added)
end
return answers
