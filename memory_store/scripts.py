"""The Lua scripts: one atomic step each.  Redis does not roll a script back, so all is checked before the first write.

Keys, all in one cluster slot (the braces are a hash tag)::

    engram:{namespace}:applied   hash   chain -> position
    engram:{namespace}:meta      hash   epoch (new after a wipe), clearing; numbers of cells, fields, logged keys
    engram:{namespace}:keys      list   version log: JSON [token, key, ...] for each application that created cells
    engram:{namespace}:c:KEY     hash   a cell: field -> integer, "vector:" + field -> packed sum

Every script takes applied, meta, keys as KEYS 1-3; cells follow.  An error reply that begins with ENGRAM- is ours.
"""

from __future__ import annotations

from kie_ops.memory import PROTOTYPE_WIDTH
from memory_store.cells import LIMIT

CLEARING = "ENGRAM-CLEARING"
CORRUPT = "ENGRAM-CORRUPT"
RANGE = "ENGRAM-RANGE"

_GUARD = f"""
if redis.call('HEXISTS', KEYS[2], 'clearing') == 1 then
  return redis.error_reply('{CLEARING} the namespace is being cleared')
end
"""

# ARGV: 1 entries of the version log known already, 2 how many more to give.
# The last known entry is given again: its token shows whether the list is still the one that the client knows.
READ = _GUARD + """
local known = tonumber(ARGV[1])
local out = {
  redis.call('HGET', KEYS[2], 'epoch'),
  redis.call('LLEN', KEYS[3]),
  redis.call('LRANGE', KEYS[3], math.max(known - 1, 0), known + tonumber(ARGV[2]) - 1),
  redis.call('HGETALL', KEYS[1]),
}
for i = 4, #KEYS do out[i + 1] = redis.call('HGETALL', KEYS[i]) end
return out
"""

# plan() reads and checks, write() writes what was planned.  ARGV from `first` on: one JSON [[field], [value]] a cell,
# a value being an integer or, for a vector, a list of integers.
_ADD = f"""
local WIDTH, LIMIT, CHUNK = {PROTOTYPE_WIDTH}, {LIMIT}, 1000
local FORMAT = {{[4] = '<' .. string.rep('i4', WIDTH), [8] = '<' .. string.rep('i8', WIDTH)}}
local problem

local function refuse(kind, text)
  problem = problem or redis.error_reply(kind .. ' ' .. text)
end

local function ask(...)
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err then
    refuse('{CORRUPT}', tostring(({{...}})[2]) .. ': ' .. reply.err)
    return nil
  end
  return reply
end

local function number(text, where)
  if not text then return 0 end
  if type(text) ~= 'string' or not string.match(text, '^%-?%d+$') then
    refuse('{CORRUPT}', where .. ' holds no integer')
    return 0
  end
  return tonumber(text)
end

local function within(n, where)
  if n > LIMIT or n < -LIMIT then refuse('{RANGE}', where .. ' would leave 2^53') end
end

local function sum_count(have, n, where)
  n = n + number(have, where)
  within(n, where)
  if n ~= 0 then return string.format('%.0f', n) end
end

local function sum_vector(have, v, where)
  if have then
    local format = FORMAT[#have / WIDTH]
    if not format then return refuse('{CORRUPT}', where .. ' holds no packed vector') end
    local old = {{struct.unpack(format, have)}}
    for i = 1, WIDTH do v[i] = v[i] + old[i] end
  end
  local some, width = false, 4
  for i = 1, WIDTH do
    within(v[i], where)
    if v[i] ~= 0 then some = true end
    if v[i] > 2147483647 or v[i] < -2147483648 then width = 8 end
  end
  if some and not problem then return struct.pack(FORMAT[width], unpack(v)) end
end

local function plan_cell(key, add)
  local names, values, set, drop = add[1], add[2], {{}}, {{}}
  local had = ask('HLEN', key) or 0
  for from = 1, #names, CHUNK do
    local to = math.min(from + CHUNK - 1, #names)
    local have = had > 0 and ask('HMGET', key, unpack(names, from, to)) or {{}}
    for j = from, to do
      local old, where = have[j - from + 1], key .. ' ' .. names[j]
      local sum = type(values[j]) == 'table' and sum_vector or sum_count
      local new = sum(old, values[j], where)
      if new then
        set[#set + 1] = names[j]
        set[#set + 1] = new
        if not old then had = had + 1 end
      elseif old then
        drop[#drop + 1] = names[j]
      end
    end
  end
  return set, drop, had
end

local function plan(first)
  local cells = {{}}
  ask('LLEN', KEYS[3])
  number(ask('HGET', KEYS[2], 'cells'), 'meta cells')
  number(ask('HGET', KEYS[2], 'fields'), 'meta fields')
  number(ask('HGET', KEYS[2], 'logged'), 'meta logged')
  for i = 4, #KEYS do
    local before = ask('HLEN', KEYS[i]) or 0
    local set, drop, after = plan_cell(KEYS[i], cjson.decode(ARGV[first + i - 4]))
    if problem then return nil end
    cells[#cells + 1] = {{KEYS[i], set, drop, before, after - #drop}}
  end
  return cells
end

local function each_chunk(command, key, list)
  for from = 1, #list, CHUNK do
    redis.call(command, key, unpack(list, from, math.min(from + CHUNK - 1, #list)))
  end
end

local function write(cells, token, prefix)
  local created, many, fields = {{token}}, 0, 0
  for _, cell in ipairs(cells) do
    local key, set, drop, before, after = unpack(cell)
    each_chunk('HSET', key, set)
    each_chunk('HDEL', key, drop)
    fields = fields + after - before
    if before == 0 and after > 0 then
      created[#created + 1] = string.sub(key, prefix + 1)
      many = many + 1
    elseif before > 0 and after == 0 then
      many = many - 1
    end
  end
  if #created > 1 then
    redis.call('RPUSH', KEYS[3], cjson.encode(created))
    redis.call('HINCRBY', KEYS[2], 'logged', #created - 1)
  end
  redis.call('HSETNX', KEYS[2], 'epoch', token)
  redis.call('HINCRBY', KEYS[2], 'cells', many)
  redis.call('HINCRBY', KEYS[2], 'fields', fields)
end

local function position(chain)
  return number(ask('HGET', KEYS[1], chain), 'position of ' .. chain)
end

-- The rule of every chain: at `from` it may advance; nothing else is written.
local function standing(chain, from, to)
  local at = position(chain)
  if problem or at == from then return nil end
  return at >= to and 'skipped' or 'behind'
end
"""

# ARGV: 1 token, 2 length of the cells' prefix, 3 chain, 4 start, 5 end, 6 erasures, 7 name of the erasures chain.
APPLY = _GUARD + _ADD + """
local stale = position(ARGV[7]) ~= tonumber(ARGV[6])
if problem then return problem end
if stale then return 'stale' end
local no = standing(ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]))
if problem or no then return problem or no end
local cells = plan(8)
if problem then return problem end
write(cells, ARGV[1], tonumber(ARGV[2]))
redis.call('HSET', KEYS[1], ARGV[3], ARGV[5])
return 'applied'
"""

# ARGV: 1 token, 2 length of the cells' prefix, 3 erasures chain, 4 its position, 5 end, 6 chain, 7 offset.
ERASE = _GUARD + _ADD + """
local no = standing(ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]))
if problem or no then return problem or no end
local beyond = position(ARGV[6]) > tonumber(ARGV[7])
local cells = beyond and plan(8)
if problem then return problem end
if beyond then write(cells, ARGV[1], tonumber(ARGV[2])) end
redis.call('HSET', KEYS[1], ARGV[3], ARGV[5])
return 'applied'
"""

# Clearing survives a crash half-way: positions go first, and until the last cell is gone nobody reads or applies.
CLEAR_BEGIN = """
redis.call('HSET', KEYS[2], 'clearing', '1')
redis.call('DEL', KEYS[1])
return redis.call('LLEN', KEYS[3])
"""

# ARGV: 1 the version log's last entry, whose cells are KEYS 4...  Several clients may clear at once.
CLEAR_ENTRY = """
if redis.call('HEXISTS', KEYS[2], 'clearing') == 0 or redis.call('LINDEX', KEYS[3], -1) ~= ARGV[1] then return 0 end
for i = 4, #KEYS do redis.call('DEL', KEYS[i]) end
redis.call('RPOP', KEYS[3])
return 1
"""

CLEAR_END = """
if redis.call('HEXISTS', KEYS[2], 'clearing') == 1 and redis.call('LLEN', KEYS[3]) == 0 then
  redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
end
return 1
"""

# Puts the shorter list KEYS[4] (what lived in the first ARGV[2] entries) in their place, under a new epoch.
# ARGV: 1 epoch, 2 length when it was read, 3 new epoch, 4 keys in the shorter list.
COMPACT = _GUARD + """
local length, logged = redis.call('LLEN', KEYS[3]), tonumber(ARGV[4])
if redis.call('HGET', KEYS[2], 'epoch') ~= ARGV[1] or length < tonumber(ARGV[2]) then
  redis.call('DEL', KEYS[4])
  return 0
end
for i = tonumber(ARGV[2]), length - 1 do
  local entry = redis.call('LINDEX', KEYS[3], i)
  redis.call('RPUSH', KEYS[4], entry)
  logged = logged + #cjson.decode(entry) - 1
end
redis.call('DEL', KEYS[3])
if redis.call('EXISTS', KEYS[4]) == 1 then
  redis.call('PERSIST', KEYS[4])
  redis.call('RENAME', KEYS[4], KEYS[3])
end
redis.call('HSET', KEYS[2], 'epoch', ARGV[3], 'logged', logged)
return 1
"""
