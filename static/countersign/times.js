// Says each <time data-shows> in the time zone and the manner of this browser; UTC stays in its title.
// Without this script the page says UTC.

const DAY = { day: "numeric", month: "long", year: "numeric" };
const CLOCK = { hour: "2-digit", minute: "2-digit" };
// The same names as in foundation/templatetags/moments.py.
const SHOWS = {
  day: DAY,
  minute: { ...DAY, ...CLOCK },
  second: { ...DAY, ...CLOCK, second: "2-digit" },
  "short-minute": { ...DAY, month: "short", ...CLOCK },
  clock: CLOCK,
  "clock-second": { ...CLOCK, second: "2-digit" },
};
const LONG_DAY = { weekday: "long", ...DAY };

const language = document.documentElement.lang;
// The page's language, in the user's manner where they speak it: 24 November or November 24.
const locale = navigator.languages.find((one) => one.split("-")[0] === language) ?? (language === "en" ? "en-GB" : language);

function format(time, options) {
  return new Intl.DateTimeFormat(locale, options).format(Date.parse(time.dateTime));
}

function show() {
  for (const time of document.querySelectorAll("time[data-shows]:not([data-shown])")) {
    time.textContent = format(time, SHOWS[time.dataset.shows]);
    time.dataset.shown = "";
  }
}

// A list by days: what was before midnight in UTC may be after it here.
function regroup(days) {
  const items = days.querySelectorAll(":scope > .log > li");
  if (!items.length) return;
  const parts = [];
  let known = "";
  for (const item of items) {
    const day = format(item.querySelector("time"), LONG_DAY);
    if (day !== known) {
      const heading = document.createElement("h2");
      heading.className = "day";
      heading.textContent = day;
      const list = document.createElement("ul");
      list.className = "log";
      parts.push(heading, list);
      known = day;
    }
    parts.at(-1).append(item);
  }
  days.replaceChildren(...parts);
}

const zone = new Intl.DateTimeFormat().resolvedOptions().timeZone.replaceAll("_", " ");
for (const one of document.querySelectorAll("[data-zone]")) one.textContent = `Times are in your time zone (${zone}).`;
document.querySelectorAll("[data-days]").forEach(regroup);
show();
document.addEventListener("list-changed", show);
