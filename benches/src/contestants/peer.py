"""libtorrent as owner or receiver: seed|get TORRENT FOLDER IP PORT [PEER…]"""

import sys
import time

import libtorrent

role, torrent, folder, ip, port = sys.argv[1:6]
session = libtorrent.session({
    "listen_interfaces": f"{ip}:{port}",
    "outgoing_interfaces": ip,
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_incoming_utp": False, "enable_outgoing_utp": False, "in_enc_policy": 2, "out_enc_policy": 2,
    "allow_multiple_connections_per_ip": True,
    "alert_mask": libtorrent.alert.category_t.status_notification
    | libtorrent.alert.category_t.error_notification,
})
handle = session.add_torrent({"ti": libtorrent.torrent_info(torrent), "save_path": folder})
for peer in sys.argv[6:]:
    host, number = peer.rsplit(":", 1)
    handle.connect_peer((host, int(number)))

said = False
while True:
    session.wait_for_alert(1000)
    session.pop_alerts()
    if handle.status().is_seeding:
        if role == "get":
            # The last pieces may still be on their way to the disk.
            handle.flush_cache()
            while not any(isinstance(a, libtorrent.cache_flushed_alert) for a in session.pop_alerts()):
                session.wait_for_alert(1000)
            sys.exit(0)
        if not said:
            print("ready", flush=True)
            said = True
        time.sleep(0.1)
