local node, epoch = ARGV[1], ARGV[2]
if lease_of(node) ~= epoch then
  return { 'fenced' }
end
redis.call('DEL', base .. ':node:' .. node)
tidy_up()
return { 'ok' }
