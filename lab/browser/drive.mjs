// Drives a headless Chromium through steps from standard input, over a pipe of its own (no port is opened), and prints
// what they gave as one JSON object. Usage: node drive.mjs CHROMIUM PROFILE_FOLDER < steps.json
//
// Steps: {"open": url, "size": [width, height], "scheme": "light"|"dark"}, {"wait": expression}, {"eval": expression,
// "as": name}, {"key": key}, {"type": text}, {"file": [selector, path]}, {"shot": path}.
import { spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";

const [program, profile] = process.argv.slice(2);
const steps = JSON.parse(readFileSync(0, "utf8"));
const LIMIT = 60_000;

const browser = spawn(program, [
  "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
  "--disable-background-networking", "--disable-component-update", "--proxy-server=127.0.0.1:9", "--remote-debugging-pipe",
  `--user-data-dir=${profile}`, "about:blank",
], { stdio: ["ignore", "ignore", "pipe", "pipe", "pipe"] });
let log = "";
browser.stderr.on("data", (text) => { log = (log + text).slice(-4000); });

const waiting = new Map(), listeners = new Map();
let last = 0, rest = "";
browser.stdio[4].on("data", (bytes) => {
  const parts = (rest + bytes).split("\0");
  rest = parts.pop();
  for (const message of parts.map((part) => JSON.parse(part))) {
    if (message.id === undefined) listeners.get(message.method)?.(message.params);
    else waiting.get(message.id)?.(message);
  }
});

function send(method, params = {}, sessionId = undefined) {
  const id = last += 1;
  browser.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
  return new Promise((resolve, reject) => waiting.set(id, (answer) => {
    waiting.delete(id);
    if (answer.error === undefined) resolve(answer.result);
    else reject(new Error(`${method}: ${answer.error.message}`));
  }));
}

const end = (code, text) => {
  (code === 0 ? process.stdout : process.stderr).write(`${text}\n`, () => {
    browser.kill("SIGKILL");
    process.exit(code);
  });
};
const timer = setTimeout(() => end(1, `the browser took longer than ${LIMIT} ms\n${log}`), LIMIT);
browser.on("error", (error) => end(1, `the browser does not start: ${error.message}`));
browser.on("exit", (code) => end(1, `the browser ended (${code})\n${log}`));

async function run() {
  const { targetId } = await send("Target.createTarget", { url: "about:blank" });
  const { sessionId } = await send("Target.attachToTarget", { targetId, flatten: true });
  const page = (method, params) => send(method, params, sessionId);
  const asked = [], complaints = [], results = {};
  listeners.set("Network.requestWillBeSent", ({ request }) => asked.push(request.url));
  listeners.set("Runtime.exceptionThrown", ({ exceptionDetails }) => complaints.push(exceptionDetails.exception?.description ?? exceptionDetails.text));
  listeners.set("Log.entryAdded", ({ entry }) => complaints.push(entry.text));
  for (const domain of ["Page", "Runtime", "Network", "Log", "DOM"]) await page(`${domain}.enable`);
  const evaluate = async (expression) => {
    const { result, exceptionDetails } = await page("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails !== undefined) throw new Error(`${expression}: ${exceptionDetails.exception?.description}`);
    return result.value;
  };
  for (const step of steps) {
    if (step.open !== undefined) {
      const [width, height] = step.size;
      await page("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: false });
      await page("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: step.scheme }] });
      const loaded = new Promise((resolve) => listeners.set("Page.loadEventFired", resolve));
      await page("Page.navigate", { url: step.open });
      await loaded;
    } else if (step.wait !== undefined) {
      while (!(await evaluate(step.wait))) await new Promise((resume) => setTimeout(resume, 20));
    } else if (step.eval !== undefined) {
      results[step.as] = await evaluate(step.eval);
    } else if (step.key !== undefined) {
      const text = step.key.length === 1 ? step.key : step.key === "Enter" ? "\r" : undefined;
      await page("Input.dispatchKeyEvent", { type: "keyDown", key: step.key, text });
      await page("Input.dispatchKeyEvent", { type: "keyUp", key: step.key });
    } else if (step.type !== undefined) {
      await page("Input.insertText", { text: step.type });
    } else if (step.file !== undefined) {
      const { root } = await page("DOM.getDocument");
      const { nodeId } = await page("DOM.querySelector", { nodeId: root.nodeId, selector: step.file[0] });
      await page("DOM.setFileInputFiles", { nodeId, files: [step.file[1]] });
    } else if (step.shot !== undefined) {
      const { data } = await page("Page.captureScreenshot", { format: "png" });
      writeFileSync(step.shot, Buffer.from(data, "base64"));
    } else {
      throw new Error(`no such step: ${JSON.stringify(step)}`);
    }
  }
  return { asked, complaints, results };
}

run().then((report) => {
  clearTimeout(timer);
  end(0, JSON.stringify(report));
}, (error) => end(1, `${error.message}\n${log}`));
