-- Before every script of the hot tier. KEYS are lanes, of one slot on a Redis Cluster: all keys of a
-- lane begin with it, and it has a hash tag, so that a script is atomic over the logs of its lanes.
-- The last of ARGV is the server's life, as the connection knows it, or empty.
-- What is often asked together stands in one place: each call costs more than what it does.
--   :c:CONV   t holder, h head, c up to where the store has it, v version, f its first entry here,
--             w 2: no id before f counts; 1: none but by :n:CONV; 0: of a sender who is not there
--             the store must be asked; x the closing that holds, 0 while it is open; y how many there were; a when it was last noted in :used;
--             r the server's life in which it came here, or was made sure of; k 1 when there may
--             be cursors; o when was looked for what is too old;
--             "FROM\nCM_ID" -> "SEQ ID AT DIGEST" of the entries that are here;
--             "" something long: a small hash would be searched through from its beginning
--   :l:CONV   its entries from f on, each "FROM\nCM_ID\nID\nAT\n…"
--   :n:CONV   FROM -> "=CM_ID", the largest before f, or "" for none
--   :u:CONV   USER -> "DELIVERED READ" that the store has not
--   :dirty    CONV by when it began to wait for the store: all with h above c, or with cursors
--   :used     CONV by when it was last appended to, about
--   :waiting  how many entries wait
--   :lease    the worker that flushes this lane
-- No id has a control character, so none has the newline. Holders and ids have more digits than a
-- number of Lua's: they stay texts.
local base = KEYS[1]
local living = table.remove(ARGV)

-- Lua unpacks so many values at once; an even number, for pairs.
local UNPACK_MAX = 1000

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Whole numbers of 32 bits are written much faster as such.
local function num(number)
  return string.format(number < 2147483648 and '%d' or '%.0f', number)
end

-- The server's life: another after each start, and another on each server. One that starts anew, or
-- takes over from another one, may lack what had been answered last.
local function life()
  if living == '' then
    living = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  end
  return living
end

local function key(kind, conv)
  return base .. ':' .. kind .. ':' .. conv
end

-- A command with as many values as there are, in a few calls.
local function with_all(command, name, values)
  for from = 1, #values, UNPACK_MAX do
    redis.call(command, name, unpack(values, from, math.min(from + UNPACK_MAX - 1, #values)))
  end
end

-- Byte by byte, which Lua's own comparison is not in every locale. What is the same is passed over
-- in pieces.
local function less(a, b)
  local from, size = 1, math.min(#a, #b)
  while from <= size and string.sub(a, from, from + 7) == string.sub(b, from, from + 7) do
    from = from + 8
  end
  for i = from, size do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then
      return x < y
    end
  end
  return #a < #b
end

local function note_used(conv, now)
  redis.call('HSET', key('c', conv), 'a', num(now))
  redis.call('ZADD', base .. ':used', num(now), conv)
end

-- What waits of a log: at most so many entries, all with -1.
local function pending(conv, limit, now)
  local s = redis.call('HMGET', key('c', conv), 't', 'h', 'c', 'f', 'r', 'k')
  if not s[1] then
    return nil
  end
  local head, cold = tonumber(s[2]), tonumber(s[3])
  local from = cold + 1 - tonumber(s[4])
  local to = limit < 0 and -1 or from + limit - 1
  local blobs = head > cold and redis.call('LRANGE', key('l', conv), num(from), num(to)) or {}
  local is_all = cold + #blobs == head
  local cursors = s[6] and redis.call('HGETALL', key('u', conv)) or {}
  return { conv, s[1], s[3], is_all and num(now) or '0', '0', cursors, blobs, '0',
    s[5] == life() and '0' or '1' }
end
