// Runs node-media-server with the configuration in the file that is named: all of it, with no default that listens elsewhere.
"use strict";

const fs = require("fs");
const NodeMediaServer = require("node-media-server");

new NodeMediaServer(JSON.parse(fs.readFileSync(process.argv[2], "utf8"))).run();
