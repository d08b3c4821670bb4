local user, device, route, node, epoch = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if lease_of(node) ~= epoch then
  return { 'fenced' }
end
-- Digits, and more of them than a number here can hold.
local function is_greater(a, b)
  return #a > #b or (#a == #b and a > b)
end
local old = redis.call('HGET', user_key(user), device)
if old and is_live(old) then
  local there, at = string.match(old, '^%d+ (%d+) (.+)$')
  if at ~= node or is_greater(there, string.match(route, '^%d+ (%d+) ')) then
    return { 'ok', old }
  end
end
write(user, device, route, epoch, old)
return { 'ok' }
