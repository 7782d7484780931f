-- Give a topic its next version, keep it with the body for those who poll, and tell those who listen.
--
--   KEYS  the topic's hash     ARGV  channel, topic, body     reply: the version
--   message: <ddI4 previous version, version, length of the topic; topic; body
--
-- A topic never published before starts at this server's time in microseconds rather than at 1, so that versions still
-- grow if the server lost its data; `previous` tells a listener whether it heard the one before.

local previous = tonumber(redis.call('HGET', KEYS[1], 'version')) or 0
local version = previous + 1
if previous == 0 then
  local time = redis.call('TIME')
  version = time[1] * 1000000 + time[2]
end
local text = string.format('%.0f', version)
redis.call('HSET', KEYS[1], 'previous', string.format('%.0f', previous), 'version', text, 'body', ARGV[3])
redis.call('PUBLISH', ARGV[1], struct.pack('<ddI4', previous, version, #ARGV[2]) .. ARGV[2] .. ARGV[3])
return text
