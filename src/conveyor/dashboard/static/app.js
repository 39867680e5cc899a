// What runs on every page. Each module minds one thing; `bus` is how they hear of each other.
import { startActions } from "./act.js";
import { startBelts } from "./belt.js";
import { startCharts } from "./charts.js";
import { startForms } from "./form.js";
import { startKeys } from "./keys.js";
import { startLive } from "./live.js";
import { startLog } from "./log.js";
import { startNumbers } from "./numbers.js";
import { startPart } from "./part.js";
import { startSelection } from "./selection.js";
import { startTheme } from "./shell.js";
import { startStack } from "./stack.js";
import { startTimes } from "./times.js";

startTheme();
startTimes();
startNumbers();
startBelts();
startCharts();
startPart();
startActions();
startSelection();
startForms();
startLog();
startStack();
startKeys();
startLive();
