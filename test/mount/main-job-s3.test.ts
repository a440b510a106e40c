import { testMainJob } from './main-job.js';

testMainJob('S3', 'main-job-s3.test.js');
