-- The scripts run inside Redis and Valkey: Lua 5.1 without files and modules, and with these.
std = "lua51"
max_line_length = 120
read_globals = { "KEYS", "ARGV", "redis", "cjson", "cmsgpack" }
exclude_files = { ".venv" }

-- What scripts/shared/*.lua defines and the loader puts in front of a script that asks for it.
local shared = {}
for _, name in ipairs(shared) do
    table.insert(read_globals, name)
end

-- A shared file defines what others use.
files["**/scripts/shared/*.lua"] = { ignore = { "211" } }
