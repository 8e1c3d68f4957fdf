# shellcheck shell=bash
# One terminal window, or tmux pane, per name. Closing one leaves its node running.

terminals=(konsole gnome-terminal xterm tmux)

# Sets `terminal`, for `auto`: none when nobody watches, a window where there is a display.
choose_terminal() {
  local choice
  terminal=none
  [ -t 1 ] || return 0
  for choice in "${terminals[@]}"; do
    case $choice in
      tmux) ;;
      xterm) [ -n "${DISPLAY-}" ] || continue ;;
      *) [ -n "${DISPLAY-}${WAYLAND_DISPLAY-}" ] || continue ;;
    esac
    if have "$choice"; then terminal=$choice; return; fi
  done
}

# open_terminal TERMINAL TITLE COMMAND…
open_terminal() {
  local terminal=$1 title=$2; shift 2
  case $terminal in
    konsole) setsid konsole -p "tabtitle=$title" -e "$@" </dev/null >/dev/null 2>&1 & ;;
    gnome-terminal) gnome-terminal --title "$title" -- "$@" ;;
    xterm) setsid xterm -T "$title" -e "$@" </dev/null >/dev/null 2>&1 & ;;
    tmux) open_pane "$title" "$@" ;;
  esac
}

# Six panes to a window; smaller ones cannot be read.
open_pane() {
  local title=$1 command pane; shift
  command=$(printf '%q ' "$@")
  if ! tmux has-session -t "=$project" 2>/dev/null; then
    pane=$(tmux new-session -d -P -F '#{pane_id}' -s "$project" -x 180 -y 50 "$command")
  elif [ "$(tmux list-panes -t "=$project:" | wc -l)" -lt 6 ]; then
    pane=$(tmux split-window -P -F '#{pane_id}' -t "=$project:" "$command")
  else
    pane=$(tmux new-window -P -F '#{pane_id}' -t "=$project:" "$command")
  fi
  tmux select-layout -t "$pane" tiled
  tmux select-pane -t "$pane" -T "$title"
  tmux set-option -w -t "$pane" pane-border-status top
  tmux set-option -w -t "$pane" pane-border-format ' #{pane_title} '
}

# After the last pane: show the session, if there is a terminal to show it on.
show_panes() {
  if [ -n "${TMUX-}" ]; then tmux switch-client -t "=$project"
  elif [ -t 0 ] && [ -t 1 ]; then tmux attach-session -t "=$project"
  else say "the terminals: tmux attach -t $project"; fi
}
