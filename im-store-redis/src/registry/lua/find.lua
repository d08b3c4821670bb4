local found = {}
for at, user in ipairs(ARGV) do
  local devices = redis.call('HGETALL', user_key(user))
  for i = 1, #devices, 2 do
    local device, route = devices[i], devices[i + 1]
    local epoch, node = string.match(route, '^(%d+) %d+ (.+)$')
    if epoch and lease_of(node) == epoch then
      local ttl = redis.call('PTTL', base .. ':node:' .. node)
      found[#found + 1] = { at, device, route, ttl }
    end
  end
end
return found
