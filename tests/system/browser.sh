# SPDX-License-Identifier: MIT
#
# A real browser, without a window, by the W3C WebDriver protocol. To be sourced after tap.sh.
#
#     need_browser
#     browse http://127.0.0.1:9901/
#     is "the title" "$(in_page 'return document.title')" hvhost
#     screenshot file.png

need_browser() {
    need_programs chromium chromedriver curl jq
}

# webdriver METHOD PATH [JSON]: the answer's value
webdriver() {
    curl -s --max-time 60 -X "$1" "http://127.0.0.1:$browser_port$2" ${3:+-H 'Content-Type: application/json' -d "$3"} |
        jq -c .value
}

# browse URL: starts the browser with this page
browse() {
    local profile
    profile=$(mktemp -d "$tap_dir/browser.XXXXXX")
    for browser_port in {9515..9599}; do
        (: <>"/dev/tcp/127.0.0.1/$browser_port") 2>/dev/null || break
    done
    # What it starts is in a group of its own, and ends with it.
    setsid chromedriver --port="$browser_port" >"$tap_dir/chromedriver.log" 2>&1 &
    browser_pid=$!
    on_exit end_browser
    for _ in {1..200}; do
        [ "$(webdriver GET /status 2>/dev/null | jq -r .ready 2>/dev/null)" = true ] && break
        sleep 0.1
    done
    browser_session=$(webdriver POST /session "$(jq -n --arg profile "$profile" '{
        capabilities: {alwaysMatch: {browserName: "chrome", "goog:chromeOptions": {args: [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--window-size=1400,1000", "--disable-dev-shm-usage", "--user-data-dir=\($profile)"]}}}}')" |
        jq -r .sessionId)
    [ "$browser_session" != null ] && [ -n "$browser_session" ] || bail_out "the browser does not start: $(tail -n 3 "$tap_dir/chromedriver.log")"
    webdriver POST "/session/$browser_session/url" "$(jq -n --arg url "$1" '{url: $url}')" >/dev/null
}

# in_page SCRIPT: what it returns, as text
in_page() {
    webdriver POST "/session/$browser_session/execute/sync" \
        "$(jq -n --arg script "$1" '{script: $script, args: []}')" | jq -r .
}

# press KEY: to what has the focus; as JSON has it, because a shell knows "\ue015" in some locales only
press() {
    webdriver POST "/session/$browser_session/actions" "$(jq -n --argjson key "\"$1\"" '{actions: [{type: "key", id: "keys",
        actions: [{type: "keyDown", value: $key}, {type: "keyUp", value: $key}]}]}')" >/dev/null
}

screenshot() {
    webdriver GET "/session/$browser_session/screenshot" | jq -r . | base64 -d >"$1"
}

end_browser() {
    webdriver DELETE "/session/$browser_session" >/dev/null 2>&1
    kill -- "-$browser_pid" 2>/dev/null
    wait "$browser_pid" 2>/dev/null
    return 0
}
