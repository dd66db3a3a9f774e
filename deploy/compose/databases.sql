-- A database and a user for each service, as in production: no service can read the data of another one. PostgreSQL's
-- image runs this once, when its volume is empty. The passwords protect nothing: the server is on this machine only.
CREATE USER "user" PASSWORD 'local';
CREATE USER product PASSWORD 'local';
CREATE USER billing PASSWORD 'local';
CREATE DATABASE "user" OWNER "user";
CREATE DATABASE product OWNER product;
CREATE DATABASE billing OWNER billing;
REVOKE CONNECT ON DATABASE "user", product, billing FROM PUBLIC;
