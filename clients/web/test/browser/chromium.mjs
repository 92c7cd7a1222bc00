/** The browser of the tests: `CHORUS_CHROMIUM`, or the one that Debian installs, without what it does on its own. */
export const CHROMIUM = {
  executablePath: process.env.CHORUS_CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
};
