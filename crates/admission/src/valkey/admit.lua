-- Takes all of a reservation or nothing. ARGV[2]: the reservation, JSON. ARGV[3]: 0, or when it was admitted, to take it without asking.
-- Returns { 0 refused | 1 taken | 2 repeated | 3 rebuilding, used, wait (-1: never), reset per rate, held per hold, spent, reserved per fund }.
local plan, reopen_at = cjson.decode(ARGV[2]), tonumber(ARGV[3])

if reopen_at == 0 and call('EXISTS', P .. 'ready') == 0 then return { 3 } end
if is_settled(plan.id) or is_open(plan.id) then return { 2 } end
if reopen_at > 0 then
  if plan.expires_ms > now then take(plan, ARGV[2], reopen_at) end
  return { 1 }
end

local fits, reply, stale, newest = true, { 0 }, {}, {}

for i, m in ipairs(plan.rates) do
  local key, window = P .. 'w:' .. m.meter, m.window_ms
  local w = width(window)
  local first, last = counted(window)
  local flat, buckets, used = call('HGETALL', key), {}, 0
  stale[i] = {}
  for j = 1, #flat, 2 do
    local at, taken = tonumber(flat[j]), tonumber(flat[j + 1])
    if at >= first and at <= last then
      buckets[#buckets + 1] = { at, taken }
      used = used + taken
      if not newest[i] or at > newest[i] then newest[i] = at end
    else
      stale[i][#stale[i] + 1] = flat[j]
    end
  end
  local wait = 0
  if m.amount > m.limit then
    wait = -1
  elseif used + m.amount > m.limit then
    table.sort(buckets, function(a, b) return a[1] < b[1] end)
    local left = used
    for _, b in ipairs(buckets) do
      if left + m.amount <= m.limit then break end
      left = left - b[2]
      wait = (b[1] + 1) * w + window - now
    end
  end
  if wait ~= 0 then fits = false end
  local at = #reply
  reply[at + 1], reply[at + 2] = used, wait
  reply[at + 3] = newest[i] and (newest[i] + 1) * w + window - now or 0
end

for _, m in ipairs(plan.holds) do
  local key = P .. 'c:' .. m.meter
  call('ZREMRANGEBYSCORE', key, '-inf', int(now))
  local held = call('ZCARD', key)
  if held >= m.limit then fits = false end
  reply[#reply + 1] = held
end

for _, fund in ipairs(plan.funds) do
  local spent = tonumber(call('GET', P .. 's:' .. fund.counter) or '0')
  local held = reserved(fund.dimension)
  if fund.strict then
    if spent + held + plan.nano > fund.ceiling_nano then fits = false end
  elseif spent + held >= fund.ceiling_nano then
    fits = false
  end
  local at = #reply
  reply[at + 1], reply[at + 2] = spent, held
end

if not fits then return reply end

take(plan, ARGV[2], now)
reply[1] = 1
for i, m in ipairs(plan.rates) do
  if #stale[i] > 0 then call('HDEL', P .. 'w:' .. m.meter, unpack(stale[i])) end
  if m.amount > 0 then
    local at, window = 3 * i - 1, m.window_ms
    local latest = math.max(newest[i] or -math.huge, bucket(now, window))
    reply[at] = reply[at] + m.amount
    reply[at + 2] = (latest + 1) * width(window) + window - now
  end
end
return reply
