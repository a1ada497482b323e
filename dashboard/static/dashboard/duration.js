// A length of time with the one unit that tells it, as the server writes it.

export function duration(seconds) {
  for (const [length, unit] of [[86_400, "d"], [3_600, "h"], [60, "min"]]) {
    if (seconds >= length) return `${Math.floor(seconds / length)} ${unit}`;
  }
  if (seconds >= 10) return `${Math.floor(seconds)} s`;
  return seconds >= 1 ? `${seconds.toFixed(1)} s` : `${Math.round(seconds * 1_000)} ms`;
}

// With the next unit too, so that the marks of an axis differ.
export function exactDuration(seconds) {
  for (const [length, part] of [[86_400, 3_600], [3_600, 60], [60, 1]]) {
    if (seconds < length) continue;
    const rest = seconds % length;
    return rest >= part ? `${duration(seconds)} ${Math.floor(rest / part)} ${{ 3600: "h", 60: "min", 1: "s" }[part]}` : duration(seconds);
  }
  return duration(seconds);
}
