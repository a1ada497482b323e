// A length of time with the one unit that tells it, as the server writes it.

export function duration(seconds) {
  for (const [length, unit] of [[86_400, "d"], [3_600, "h"], [60, "min"]]) {
    if (seconds >= length) return `${Math.floor(seconds / length)} ${unit}`;
  }
  if (seconds >= 10) return `${Math.floor(seconds)} s`;
  return seconds >= 1 ? `${seconds.toFixed(1)} s` : `${Math.round(seconds * 1_000)} ms`;
}
