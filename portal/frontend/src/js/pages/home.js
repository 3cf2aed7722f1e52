import '../common.js';
import { followReadings } from '../readings.js';

followReadings();
