DROP TABLE follow;
DROP TABLE follower;
DROP TABLE feed_seen;
DROP TABLE departed;
DROP TABLE presence;
