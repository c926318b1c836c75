-- Each customer's restriction, from the newest CoA-Request.
CREATE TABLE restrictions (
    user_name TEXT PRIMARY KEY,
    filter TEXT NOT NULL,
    down_bits TEXT NOT NULL,
    up_bits TEXT NOT NULL
);

-- Who is connected.
CREATE TABLE sessions (user_name TEXT PRIMARY KEY);

-- Every CoA-Request and Disconnect-Request, in order.
CREATE TABLE told (
    number INTEGER PRIMARY KEY,
    packet TEXT NOT NULL,
    user_name TEXT NOT NULL,
    filter TEXT NOT NULL
);
