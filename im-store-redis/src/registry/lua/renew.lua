local node, epoch, ttl = ARGV[1], ARGV[2], ARGV[3]
if lease_of(node) ~= epoch then
  return { 'fenced' }
end
redis.call('PEXPIRE', base .. ':node:' .. node, ttl)
tidy_up()
return { 'ok' }
