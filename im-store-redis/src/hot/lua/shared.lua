-- Before every script of the hot tier. All keys of a lane begin with KEYS[1], which has a hash tag:
-- one slot, so that a script is atomic over all logs of its lane.
--   :c:CONV   t holder, h head, c up to where the store has it, v version, f its first entry here,
--             w 2: no id before f counts; 1: none but by :n:CONV; 0: of a sender who is not there
--             the store must be asked; x the closing that holds, 0 while it is open; y how many there were; a when it was last noted in :used;
--             r the server's life in which it came here, or was made sure of
--   :l:CONV   its entries from f on, each "ID\nAT\nDIGEST\nKIND\nREPLY\nEXPIRES\nFROM\nCM_ID\n…"
--   :d:CONV   "FROM\nCM_ID" -> "SEQ ID AT DIGEST" of those entries
--   :n:CONV   FROM -> "=CM_ID", the largest before f, or "" for none
--   :u:CONV   USER -> "DELIVERED READ" that the store has not
--   :dirty    CONV by when it began to wait for the store
--   :used     CONV by when it was last appended to, about
--   :waiting  how many entries wait
--   :lease    the worker that flushes this lane
-- No id has a control character, so none has the newline. Holders and ids have more digits than a
-- number of Lua's: they stay texts.
local base = KEYS[1]

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function num(number)
  return string.format('%.0f', number)
end

-- The server's life: another after each start, and another on each server. One that starts anew, or
-- takes over from another one, may lack what had been answered last.
local function life()
  return string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
end

local function key(kind, conv)
  return base .. ':' .. kind .. ':' .. conv
end

-- Byte by byte, which Lua's own comparison is not in every locale.
local function less(a, b)
  for i = 1, math.min(#a, #b) do
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
  local s = redis.call('HMGET', key('c', conv), 't', 'h', 'c', 'f', 'r')
  if not s[1] then
    return nil
  end
  local head, cold = tonumber(s[2]), tonumber(s[3])
  local from = cold + 1 - tonumber(s[4])
  local to = limit < 0 and -1 or from + limit - 1
  local blobs = head > cold and redis.call('LRANGE', key('l', conv), num(from), num(to)) or {}
  local is_all = cold + #blobs == head
  local cursors = redis.call('HGETALL', key('u', conv))
  return { conv, s[1], s[3], is_all and num(now) or '0', '0', cursors, blobs, '0',
    s[5] == life() and '0' or '1' }
end
