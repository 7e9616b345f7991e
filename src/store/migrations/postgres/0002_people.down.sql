-- Takes everything about people with it.

DROP TABLE IF EXISTS collab.follow;
DROP TABLE IF EXISTS collab.follower;
DROP TABLE IF EXISTS collab.feed_seen;
DROP TABLE IF EXISTS collab.departed;
DROP TABLE IF EXISTS collab.presence;
DROP TYPE IF EXISTS collab.presence_status;
