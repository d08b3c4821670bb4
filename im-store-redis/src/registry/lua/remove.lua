local user, device, route, epoch = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if redis.call('HGET', user_key(user), device) == route then
  redis.call('HDEL', user_key(user), device)
  redis.call('SREM', written_under(epoch), user .. '\n' .. device)
end
return 'ok'
