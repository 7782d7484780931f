-- Every verb of the cache port as one script, so that an entry and its tags change together.
--
--   KEYS  the tenant's root: entries are <root>e:<key>, tags are <root>t:<tag>, all in one slot
--   get   ARGV  verb, clock offset in us, key                              reply: the value, or nil
--   put   ARGV  verb, clock offset in us, key, ttl in us, value, tag...     (a ttl of 0 removes) reply: 1
--   tag   ARGV  verb, clock offset in us, tag                              reply: how many were forgotten
--
-- An entry is a hash: v value, u until (us), g its tags as cmsgpack. A tag is a sorted set of the keys that carry it,
-- each with its entry's end as score. An entry counts only while every one of its tags still names it with just that
-- end: this server may evict any key at any time, and an entry whose tag was evicted could no longer be forgotten, so
-- it is a miss from then on.

local TAG_SPARE_MS = 1000

local root = KEYS[1]
local verb, name = ARGV[1], ARGV[3]
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2] + ARGV[2]

local function whole(number) return string.format('%.0f', number) end
local function entry_key(key) return root .. 'e:' .. key end
local function tag_key(tag) return root .. 't:' .. tag end

-- The tags of an entry that may be served, and its end; nil when it may not.
local function living(key)
  local held = redis.call('HMGET', entry_key(key), 'u', 'g')
  if not held[1] or tonumber(held[1]) <= now then return nil end
  local tags = cmsgpack.unpack(held[2])
  for _, tag in ipairs(tags) do
    local score = redis.call('ZSCORE', tag_key(tag), key)
    if not score or tonumber(score) ~= tonumber(held[1]) then return nil end
  end
  return tags
end

local function remove(key)
  local told = redis.call('HGET', entry_key(key), 'g')
  if not told then return end
  for _, tag in ipairs(cmsgpack.unpack(told)) do redis.call('ZREM', tag_key(tag), key) end
  redis.call('DEL', entry_key(key))
end

local function put(key, ttl, value)
  remove(key)
  if ttl <= 0 then return end
  local tags = {}
  for at = 6, #ARGV do tags[#tags + 1] = ARGV[at] end
  local until_us, ttl_ms = now + ttl, math.ceil(ttl / 1000)
  redis.call('HSET', entry_key(key), 'v', value, 'u', whole(until_us), 'g', cmsgpack.pack(tags))
  redis.call('PEXPIRE', entry_key(key), whole(ttl_ms))
  for _, tag in ipairs(tags) do
    redis.call('ZREMRANGEBYSCORE', tag_key(tag), '-inf', whole(now))
    redis.call('ZADD', tag_key(tag), whole(until_us), key)
    if redis.call('PTTL', tag_key(tag)) < ttl_ms + TAG_SPARE_MS then
      redis.call('PEXPIRE', tag_key(tag), whole(ttl_ms + TAG_SPARE_MS))
    end
  end
end

local function forget(tag)
  local count = 0
  for _, key in ipairs(redis.call('ZRANGE', tag_key(tag), 0, -1)) do
    if living(key) then count = count + 1 end
    remove(key)
  end
  redis.call('DEL', tag_key(tag))
  return count
end

if verb == 'get' then
  if not living(name) then return false end
  return redis.call('HGET', entry_key(name), 'v')
elseif verb == 'put' then
  put(name, tonumber(ARGV[4]), ARGV[5])
  return 1
end
return forget(name)
