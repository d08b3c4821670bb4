local user, device, route, node, epoch = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if lease_of(node) ~= epoch then
  return { 'fenced' }
end
local old = redis.call('HGET', user_key(user), device)
write(user, device, route, epoch, old)
if old and old ~= route and is_live(old) then
  return { 'ok', old }
end
return { 'ok' }
