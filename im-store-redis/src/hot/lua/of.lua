
local now, found = now_ms(), {}
for _, conv in ipairs(ARGV) do
  local it = pending(conv, -1, now)
  if it then
    found[#found + 1] = it
  end
end
return found
