
-- ARGV: log by log the lane's place in KEYS, and the log.
local now, found = now_ms(), {}
for i = 1, #ARGV, 2 do
  base = KEYS[tonumber(ARGV[i])]
  local it = pending(ARGV[i + 1], -1, now)
  if it then
    found[#found + 1] = it
  end
end
return found
