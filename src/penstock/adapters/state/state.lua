-- Every verb of the state port as one script, so that a request costs one round trip and is atomic.
--
--   KEYS  one per ask, or the lease's          ARGV  verb, clock offset in us, holder or owner, rest
--   take, peek, give    rest: every ask packed as <Bddd: kind, limit, period in us, amount
--                       reply: packed <d: refused (from 0; -1 none), retry in us, then per ask: left, reset in us
--   claim, renew, release   rest: ttl in us, fence        reply: the fence, or 0
--
-- Time is this server's TIME in whole microseconds. When it is found to have been set back, what is stored moves back
-- with it, at once and for good: nothing refills, nothing drains, and from there on time counts as usual.
-- Meters work as in meters.py, in doubles: exact up to 2^53, past it to 16 digits.

local BUCKET, WINDOW = 1, 2
local PARTS = 32
local SPARE_MS = 1000          -- a key outlives its content by this much
local FENCE_MS = 86400000      -- a free lease's fence is remembered for a day

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2] + ARGV[2]

local function whole(number) return string.format('%.0f', number) end

local function keep(key, value, for_us)
  redis.call('SET', key, value, 'PX', whole(math.ceil(for_us / 1000) + SPARE_MS))
end

---------------------------------------------------------------------------------------------------- buckets

local Bucket = {}
Bucket.__index = Bucket

function Bucket:load()
  local stored = redis.call('GET', self.key)
  self.level = 0
  if not stored then return end
  local level, at, period = struct.unpack('<ddd', stored)
  level = level * (self.period / period)
  if at > now then
    self.level = level
    self:save()
  else
    self.level = math.max(0, level - (now - at) * self.limit)
  end
end

function Bucket:take(amount)
  local taken = self.level + amount * self.period
  if taken > self.limit * self.period then return false end
  self.level = taken
  return true
end

function Bucket:give(amount)
  self.level = math.max(0, self.level - amount * self.period)
  self:save()
end

function Bucket:save()
  if self.level <= 0 then
    redis.call('DEL', self.key)
  else
    keep(self.key, struct.pack('<ddd', self.level, now, self.period), self.level / self.limit)
  end
end

function Bucket:left() return math.floor((self.limit * self.period - self.level) / self.period) end
function Bucket:reset() return self.level / self.limit end
function Bucket:retry(amount)
  return math.ceil((self.level + amount * self.period - self.limit * self.period) / self.limit)
end

---------------------------------------------------------------------------------------------------- windows
-- Stored as groups of <ddd: first event, youngest event, amount; oldest group first.

local Window = {}
Window.__index = Window

function Window:load()
  local stored = redis.call('GET', self.key) or ''
  local groups, total, position = {}, 0, 1
  local behind = 0
  if #stored > 0 then
    local _, youngest = struct.unpack('<dd', stored, #stored - 23)
    behind = math.max(0, youngest - now)
  end
  while position <= #stored do
    local first, youngest, amount
    first, youngest, amount, position = struct.unpack('<ddd', stored, position)
    if youngest - behind + self.period > now then
      groups[#groups + 1] = {first - behind, youngest - behind, amount}
      total = total + amount
    end
  end
  self.groups, self.total = groups, total
  if behind > 0 then self:save() end
end

function Window:take(amount)
  if self.total + amount > self.limit then return false end
  if amount == 0 then return true end
  local last = self.groups[#self.groups]
  if last and now - last[1] < math.ceil(self.period / PARTS) then
    last[2], last[3] = now, last[3] + amount
  else
    self.groups[#self.groups + 1] = {now, now, amount}
  end
  self.total = self.total + amount
  return true
end

function Window:give() end

function Window:save()
  local packed = {}
  for index, group in ipairs(self.groups) do packed[index] = struct.pack('<ddd', unpack(group)) end
  if #packed == 0 then
    redis.call('DEL', self.key)
  else
    keep(self.key, table.concat(packed), self:reset())
  end
end

function Window:left() return self.limit - self.total end
function Window:reset()
  local last = self.groups[#self.groups]
  return last and last[2] + self.period - now or 0
end
function Window:retry(amount)
  local excess = self.total + amount - self.limit
  for _, group in ipairs(self.groups) do
    excess = excess - group[3]
    if excess <= 0 then return group[2] + self.period - now end
  end
  return 0
end

------------------------------------------------------------------------------------------------------ slots
-- Stored as a sorted set: holder by the time its slot lapses.

local Slots = {}
Slots.__index = Slots

function Slots:load()
  self.count = redis.call('ZCOUNT', self.key, '(' .. whole(now), '+inf')
  local mine = redis.call('ZSCORE', self.key, ARGV[3])
  self.mine = mine and tonumber(mine) > now
end

function Slots:take()
  if not self.mine and self.count >= self.limit then return false end
  if not self.mine then self.count = self.count + 1 end
  self.mine, self.taken = true, true
  return true
end

function Slots:give() redis.call('ZREM', self.key, ARGV[3]) end

function Slots:save()
  if not self.taken then return end
  redis.call('ZADD', self.key, whole(now + self.period), ARGV[3])
  redis.call('ZREMRANGEBYSCORE', self.key, '-inf', whole(now))
  redis.call('PEXPIRE', self.key, whole(math.ceil(self.period / 1000) + SPARE_MS))
end

function Slots:left() return self.limit - self.count end
function Slots:reset()
  if self.taken then return self.period end
  local last = redis.call('ZRANGE', self.key, -1, -1, 'WITHSCORES')
  return last[2] and math.max(0, last[2] - now) or 0
end
function Slots:retry()
  -- A slot cannot lapse later than a period from now, unless the clock was set back under it.
  local latest = whole(now + self.period)
  for _, holder in ipairs(redis.call('ZRANGEBYSCORE', self.key, '(' .. latest, '+inf')) do
    redis.call('ZADD', self.key, latest, holder)
  end
  local first = redis.call('ZRANGEBYSCORE', self.key, '(' .. whole(now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  return first[2] and first[2] - now or 0
end

----------------------------------------------------------------------------------------------------- limits

local function load_asks()
  local asks, by_key, position = {}, {}, 1
  for index, key in ipairs(KEYS) do
    local kind, limit, period, amount
    kind, limit, period, amount, position = struct.unpack('<Bddd', ARGV[4], position)
    local meter = by_key[key]
    if not meter then
      local class = kind == BUCKET and Bucket or kind == WINDOW and Window or Slots
      meter = setmetatable({key = key, limit = limit, period = period}, class)
      meter:load()
      by_key[key] = meter
    end
    asks[index] = {meter = meter, amount = amount}
  end
  return asks, by_key
end

local function answer(asks, refused, retry)
  local parts = {struct.pack('<dd', refused, retry)}
  for index, ask in ipairs(asks) do
    parts[index + 1] = struct.pack('<dd', math.max(0, ask.meter:left()), ask.meter:reset())
  end
  return table.concat(parts)
end

local verbs = {}

function verbs.take()
  local asks, by_key = load_asks()
  for index, ask in ipairs(asks) do
    if not ask.meter:take(ask.amount) then
      local retry = ask.meter:retry(ask.amount)
      return answer(load_asks(), index - 1, retry)  -- loaded anew: what the loop took was never saved
    end
  end
  for _, meter in pairs(by_key) do meter:save() end
  return answer(asks, -1, 0)
end

function verbs.peek() return answer(load_asks(), -1, 0) end

function verbs.give()
  for _, ask in ipairs(load_asks()) do ask.meter:give(ask.amount) end
  return ''
end

----------------------------------------------------------------------------------------------------- leases

local key, owner = KEYS[1], ARGV[3]

local function lease()
  local held = redis.call('HMGET', key, 'owner', 'fence', 'until', 'ttl')
  local fence, expires, ttl = tonumber(held[2]) or 0, tonumber(held[3]) or 0, tonumber(held[4]) or 0
  if expires > now + ttl then
    expires = now + ttl
    redis.call('HSET', key, 'until', whole(expires))
  end
  return held[1], fence, expires > now
end

local function hold(fence, ttl)
  redis.call('HSET', key, 'owner', owner, 'fence', whole(fence), 'until', whole(now + ttl), 'ttl', whole(ttl))
  redis.call('PEXPIRE', key, whole(math.ceil(ttl / 1000) + FENCE_MS))
  return whole(fence)
end

function verbs.claim()
  local holder, fence, is_held = lease()
  if is_held and holder ~= owner then return '0' end
  -- Following the clock, a fence grows even if this store forgot the last one.
  return hold(is_held and fence or math.max(fence + 1, now), tonumber(ARGV[4]))
end

local function is_mine()
  local holder, fence, is_held = lease()
  return is_held and holder == owner and fence == tonumber(ARGV[5])
end

function verbs.renew() return is_mine() and hold(tonumber(ARGV[5]), tonumber(ARGV[4])) or '0' end

function verbs.release()
  if not is_mine() then return '0' end
  redis.call('HSET', key, 'until', '0', 'ttl', '0')
  return ARGV[5]
end

return verbs[ARGV[1]]()
