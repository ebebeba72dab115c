"""The Lua scripts: one atomic step each.  Redis does not roll a script back, so all is checked before the first write.

Keys, all in one cluster slot (the braces are a hash tag)::

    engram:{namespace}:applied   hash     chain -> position
    engram:{namespace}:meta      hash     epoch (new after a wipe), clearing; numbers of cells, fields, logged keys
    engram:{namespace}:keys      list     version log: JSON [token, key, ...] for each application that created cells
    engram:{namespace}:c:KEY     string   a cell: JSON {field: count}; where it has vectors, NUL, JSON [field, ...],
                                          NUL and their packed sums one after another, all int32[64] or all int64[64]

A cell is a string and not a hash because one MGET reads them six times faster (1,900 cells: 2.5 ms against 15).
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

# plan() reads and checks, write() writes what was planned.
# ARGV from `first` on: one JSON {"counts": {field: integer}, "vectors": {field: [integer, ...]}} a cell.
_ADD = f"""
local WIDTH, LIMIT = {PROTOTYPE_WIDTH}, {LIMIT}
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

local function decoded(text, where)
  local good, value = pcall(cjson.decode, text)
  if good and type(value) == 'table' then return value end
  refuse('{CORRUPT}', where .. ' holds no cell')
  return {{}}
end

-- counts, vectors (field -> list of integers), and how many fields they have
local function parsed(text, where)
  if not text then return {{}}, {{}}, 0 end
  local cut = string.find(text, '\\0', 1, true)
  local counts, vectors, size = decoded(string.sub(text, 1, (cut or 0) - 1), where), {{}}, 0
  for _, n in pairs(counts) do
    if type(n) ~= 'number' or n ~= math.floor(n) or n > LIMIT or n < -LIMIT then
      refuse('{CORRUPT}', where .. ' holds a count that is no integer')
    end
    size = size + 1
  end
  if cut then
    local again = string.find(text, '\\0', cut + 1, true) or #text + 1
    local names = decoded(string.sub(text, cut + 1, again - 1), where)
    local bytes = (#text - again) / #names
    local format = FORMAT[bytes / WIDTH]
    if not format then
      refuse('{CORRUPT}', where .. ' holds vectors of another length')
      return counts, vectors, size
    end
    for i, name in ipairs(names) do
      local vector = {{struct.unpack(format, text, again + 1 + (i - 1) * bytes)}}
      vector[WIDTH + 1] = nil  -- where unpack stopped
      vectors[name] = vector
      size = size + 1
    end
  end
  return counts, vectors, size
end

local function add_counts(counts, more, where)
  for name, n in pairs(more) do
    n = n + (counts[name] or 0)
    within(n, where)
    counts[name] = n ~= 0 and n or nil
  end
end

local function add_vectors(vectors, more, where)
  for name, vector in pairs(more) do
    local old, some = vectors[name], false
    for i = 1, WIDTH do
      if old then vector[i] = vector[i] + old[i] end
      within(vector[i], where)
      some = some or vector[i] ~= 0
    end
    vectors[name] = some and vector or nil
  end
end

-- The cell's text, nil where nothing is left, and how many fields it has.
local function encoded(counts, vectors)
  local parts, names, packed, width = {{}}, {{}}, {{}}, 4
  for name, n in pairs(counts) do
    parts[#parts + 1] = cjson.encode(name) .. ':' .. string.format('%.0f', n)
  end
  for name, vector in pairs(vectors) do
    names[#names + 1] = name
    for i = 1, WIDTH do
      if vector[i] > 2147483647 or vector[i] < -2147483648 then width = 8 end
    end
  end
  if #parts + #names == 0 then return nil, 0 end
  local text = '{{' .. table.concat(parts, ',') .. '}}'
  if #names > 0 then
    for i, name in ipairs(names) do packed[i] = struct.pack(FORMAT[width], unpack(vectors[name])) end
    text = text .. '\\0' .. cjson.encode(names) .. '\\0' .. table.concat(packed)
  end
  return text, #parts + #names
end

local function plan(first)
  local cells = {{}}
  ask('LLEN', KEYS[3])
  for _, name in ipairs({{'cells', 'fields', 'logged'}}) do number(ask('HGET', KEYS[2], name), 'meta ' .. name) end
  for i = 4, #KEYS do
    local add = cjson.decode(ARGV[first + i - 4])
    local counts, vectors, before = parsed(ask('GET', KEYS[i]), KEYS[i])
    add_counts(counts, add.counts, KEYS[i])
    add_vectors(vectors, add.vectors, KEYS[i])
    if problem then return nil end
    local text, after = encoded(counts, vectors)
    cells[#cells + 1] = {{KEYS[i], text or false, before, after}}
  end
  return cells
end

local function write(cells, token, prefix)
  local created, many, fields = {{token}}, 0, 0
  for _, cell in ipairs(cells) do
    local key, text, before, after = unpack(cell)
    if text then redis.call('SET', key, text) else redis.call('DEL', key) end
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
