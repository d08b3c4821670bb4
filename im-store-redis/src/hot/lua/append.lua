
-- ARGV: three bounds, then log by log the lane's place in KEYS, the log, how many commits, and each
-- commit: "EXPECTED HAS_ACTOR ASKED ENTRIES FLOORS CURSORS", with "-" for none; its entries, each
-- id, "ID AT DIGEST" and the entry; its floors; its cursors. What is asked of Redis and told it is
-- asked and told once for all commits of a log.
local backlog_max, age_max, note_after = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local at, now, now_living = 4, now_ms(), life()
local lanes, heads = {}, {}

local function arg()
  at = at + 1
  return ARGV[at - 1]
end

local function enter_lane(name)
  base = KEYS[tonumber(name)]
  local lane = lanes[name]
  if not lane then
    local oldest = redis.call('ZRANGE', base .. ':dirty', 0, 0, 'WITHSCORES')[2]
    lane = {
      base = base,
      waiting = tonumber(redis.call('GET', base .. ':waiting') or '0'),
      is_late = oldest and now - tonumber(oldest) > age_max,
      added = 0,
    }
    lanes[name] = lane
  end
  return lane
end

-- Nearly all commits of a call have the same.
local function read_head(text)
  local head = heads[text]
  if not head then
    local expected, has_actor, asked, entries, floors, cursors =
      string.match(text, '^(%S+) (%d) (%S+) (%d+) (%d+) (%d+)$')
    head = {
      expected = expected,
      has_actor = has_actor == '1',
      asked = asked,
      entries = tonumber(entries),
      floors = tonumber(floors),
      cursors = tonumber(cursors),
    }
    heads[text] = head
  end
  return head
end

-- Commits, each as its head and where in ARGV its parts begin, and the fields of the log that they
-- are decided on.
local function read_commits(count)
  local commits, fields = {}, { 't', 'h', 'c', 'v', 'f', 'w', 'x', 'a', 'r' }
  for i = 1, count do
    local head = read_head(arg())
    local entries = at
    local floors = entries + 3 * head.entries
    local cursors = floors + 2 * head.floors
    at = cursors + 3 * head.cursors
    commits[i] = { head, entries, floors, cursors }
    for j = entries, floors - 1, 3 do
      if ARGV[j] ~= '' then
        fields[#fields + 1] = ARGV[j]
      end
    end
  end
  return commits, fields
end

-- The values of these fields of a log, by their names.
local function read(conv, fields)
  local values = {}
  for from = 1, #fields, UNPACK_MAX do
    local upto = math.min(from + UNPACK_MAX - 1, #fields)
    local found = redis.call('HMGET', key('c', conv), unpack(fields, from, upto))
    for i = from, upto do
      values[fields[i]] = found[i - from + 1]
    end
  end
  return values
end

-- Whether none of a commit's ids was used before the entries that are here.
local function are_new(log, from, count)
  if log.whole == '2' then
    return true
  end
  for i = from, from + 3 * count - 1, 3 do
    if ARGV[i] ~= '' then
      local sender, cm_id = string.match(ARGV[i], '^([^\n]*)\n(.*)$')
      local floor = log.floors[sender]
      if floor == nil then
        floor = redis.call('HGET', key('n', log.conv), sender)
        log.floors[sender] = floor
      end
      if not floor and log.whole == '0' then
        return false
      end
      if floor and floor ~= '' and not less(string.sub(floor, 2), cm_id) then
        return false
      end
    end
  end
  return true
end

local function push(log, from, count)
  for i = from, from + 3 * count - 1, 3 do
    log.head = log.head + 1
    log.blobs[#log.blobs + 1] = ARGV[i + 2]
    if ARGV[i] ~= '' then
      local stored = num(log.head) .. ' ' .. ARGV[i + 1]
      log.there[ARGV[i]] = stored
      log.stored[#log.stored + 1] = ARGV[i]
      log.stored[#log.stored + 1] = stored
    end
  end
end

local function move(log, user, delivered, read)
  read = math.min(tonumber(read), log.head)
  delivered = math.max(math.min(tonumber(delivered), log.head), read)
  local old = redis.call('HGET', key('u', log.conv), user)
  if old then
    local was_delivered, was_read = string.match(old, '^(%d+) (%d+)$')
    delivered = math.max(delivered, tonumber(was_delivered))
    read = math.max(read, tonumber(was_read))
  end
  redis.call('HSET', key('u', log.conv), user, num(delivered) .. ' ' .. num(read))
  redis.call('HSET', key('c', log.conv), 'k', '1')
end

local function set_floors(log, from, count)
  for i = from, from + 2 * count - 1, 2 do
    redis.call('HSETNX', key('n', log.conv), ARGV[i], ARGV[i + 1])
    log.floors[ARGV[i]] = nil
  end
end

-- An answer, and whether those behind it must wait.
local function one(log, lane, commit)
  local head, entries, floors, cursors = unpack(commit)
  local found, is_sent = { 'sent', log.version }, false
  for i = entries, floors - 1, 3 do
    if ARGV[i] ~= '' then
      local there = log.there[ARGV[i]]
      found[#found + 1] = there or ''
      is_sent = is_sent or there
    end
  end
  if is_sent then
    return found
  end
  local was_asked = head.asked == log.first
  if not was_asked and not are_new(log, entries, head.entries) then
    return 'ask ' .. log.first, true
  end
  if head.expected ~= '-' and head.expected ~= log.version then
    if head.has_actor then
      return 'version ' .. log.version, true
    end
    return 'conflict'
  end
  if head.entries > 0 and (lane.is_late or lane.waiting + lane.added >= backlog_max) then
    return 'busy'
  end
  if was_asked then
    set_floors(log, floors, head.floors)
  end
  local first = num(log.head + 1)
  push(log, entries, head.entries)
  lane.added = lane.added + head.entries
  for i = cursors, cursors + 3 * head.cursors - 1, 3 do
    move(log, ARGV[i], ARGV[i + 1], ARGV[i + 2])
  end
  log.is_changed = true
  return 'done ' .. first .. ' ' .. log.version .. ' ' .. log.holder
end

local function write(log)
  if #log.blobs > 0 then
    with_all('RPUSH', key('l', log.conv), log.blobs)
    log.stored[#log.stored + 1] = 'h'
    log.stored[#log.stored + 1] = num(log.head)
    with_all('HSET', key('c', log.conv), log.stored)
  end
  if log.is_changed then
    if not log.is_dirty then
      redis.call('ZADD', base .. ':dirty', 'NX', num(now), log.conv)
    end
    if now - log.noted > note_after then
      note_used(log.conv, now)
    end
  end
end

-- Why nothing can be appended, or the log.
local function open(conv, fields)
  local there = read(conv, fields)
  if not there.t then
    return 'cold'
  end
  if there.x ~= '0' then
    return 'closed'
  end
  if there.r ~= now_living then
    return 'doubtful'
  end
  local head = tonumber(there.h)
  return nil, {
    conv = conv, there = there, holder = there.t, head = head, version = there.v, first = there.f,
    whole = there.w, noted = tonumber(there.a), is_dirty = head > tonumber(there.c),
    floors = {}, blobs = {}, stored = {},
  }
end

local function each(commits, fields, lane, conv, answers)
  local stopped, log = open(conv, fields)
  for i, commit in ipairs(commits) do
    local answer, is_last = stopped or 'later', true
    if log then
      answer, is_last = one(log, lane, commit)
    end
    answers[#answers + 1] = answer
    if is_last then
      for _ = i + 1, #commits do
        answers[#answers + 1] = 'later'
      end
      break
    end
  end
  if log then
    write(log)
  end
end

local answers = {}
while at <= #ARGV do
  local lane = enter_lane(arg())
  local conv, count = arg(), tonumber(arg())
  local commits, fields = read_commits(count)
  each(commits, fields, lane, conv, answers)
end
for _, lane in pairs(lanes) do
  if lane.added > 0 then
    redis.call('INCRBY', lane.base .. ':waiting', lane.added)
  end
end
return answers
