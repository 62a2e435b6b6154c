const NodeMediaServer = require("node-media-server");
new NodeMediaServer(JSON.parse(require("fs").readFileSync(process.argv[2], "utf8"))).run();
